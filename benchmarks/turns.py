"""Two workers that take turns: each runs its task once a turn, alone on the machine, and tells how long it took."""

import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tqdm import tqdm

import experiments
from lsg_jax import checks

PROJECT = Path(__file__).parents[1]
TORCH = "; PyTorch comes with pip install -e '.[benchmark]', or --torch-python names a Python that has it"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How often to measure."""

    pairs: int = 5
    """Turns of each side."""

    def __post_init__(self) -> None:
        checks.whole("--pairs", self.pairs, 1)


def require_python(python: str) -> None:
    """Raises ValueError where there is no such --torch-python."""
    if shutil.which(python) is None:
        raise ValueError(f"--torch-python must be a Python that has PyTorch, and there is no {python!r}")


def in_turn(tasks: dict[str, Callable[[], float]], pairs: int) -> dict[str, list[float]]:
    """Returns the seconds that each task tells, ``pairs`` times, after one turn of each that does not count."""
    rounds = tqdm(range(pairs + 1), ", ".join(tasks), leave=False, disable=None)
    measured = [{name: task() for name, task in tasks.items()} for _ in rounds]
    return {name: [turn[name] for turn in measured[1:]] for name in tasks}


@contextmanager
def worker(
    script: str, python: str, huge_pages: bool = True, **order: Any
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Yields the version of what runs, and a function that runs one turn of ``order`` in a process of its own.

    Its memory is that of the commands, PyTorch's too, on huge pages unless ``huge_pages`` is false.
    """
    environment = experiments.malloc_environment(huge_pages) | {"PYTHONPATH": str(PROJECT)}
    command = [python, "-m", f"benchmarks.{script}", json.dumps(order)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, **pipes, stderr=errors, env=environment) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def read(hint: str = "") -> dict[str, Any]:
            line = stdout.readline()
            try:
                return json.loads(line)
            except ValueError as error:
                with suppress(BrokenPipeError):  # closing writes what a dead worker could not be told
                    stdin.close()
                status = process.wait()
                ended = f"status {status}" if status >= 0 else f"signal {-status}, {signal.strsignal(-status)}"
                errors.seek(0)
                said = (errors.read() + line).strip().splitlines() or ["it said nothing"]
                raise ValueError(f"{script} failed at {order['task']} ({ended}: {said[-1]}){hint}") from error

        def turn() -> dict[str, Any]:
            with suppress(BrokenPipeError):  # ``read`` finds that a worker is dead, and why
                stdin.write("\n")
            return read()

        yield read(TORCH if script == "torch_worker" else "")["version"], turn
        stdin.close()


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Returns the ratio of every turn. The machine drifts between turns: what is stated is the median of these."""
    return [one / other for one, other in zip(numerators, denominators, strict=True)]


def compare(ours: dict[str, Any], theirs: dict[str, Any], pairs: int, units: float) -> dict[str, Any]:
    """Runs both orders in turn and returns medians, in ``units`` a second, and every turn's ratio, ours over theirs."""
    with ExitStack() as stack:
        sides = [stack.enter_context(worker(**side)) for side in (ours, theirs)]
        turns = [[turn() for _, turn in sides] for _ in range(pairs)]
    seconds = [[turn[side]["seconds"] for turn in turns] for side in range(2)]
    peaks = [max(turn[side]["peak_bytes"] for turn in turns) for side in range(2)]
    return {
        "ours": units / median(seconds[0]),
        "theirs": units / median(seconds[1]),
        "pair_ratios": ratios(seconds[1], seconds[0]),
        "peak_bytes": {"ours": peaks[0], "theirs": peaks[1]},
        "versions": [version for version, _ in sides],
    }
