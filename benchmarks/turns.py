"""Workers that take turns: each runs its task once a turn, alone on the machine, and tells how long it took."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from tqdm import tqdm

import experiments
from lsg_jax import checks

T = TypeVar("T")
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


def in_turn(tasks: dict[str, Callable[[], T]], pairs: int) -> dict[str, list[T]]:
    """Returns what each task tells, ``pairs`` times, after one turn of each that does not count."""
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
    path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
    environment = experiments.malloc_environment(huge_pages) | {"PYTHONPATH": path}
    command = [python, "-m", f"benchmarks.{script}", json.dumps(order)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8") as errors,
        subprocess.Popen(command, **pipes, stderr=errors, env=environment) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def read() -> dict[str, Any]:
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
                hint = TORCH if "No module named 'torch'" in said[-1] else ""
                raise ValueError(f"{script} failed at {order['task']} ({ended}: {said[-1]}){hint}") from error

        def turn() -> dict[str, Any]:
            with suppress(BrokenPipeError):  # ``read`` finds that a worker is dead, and why
                stdin.write("\n")
            return read()

        yield read()["version"], turn
        stdin.close()


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Returns the ratio of every turn. The machine drifts between turns: what is stated is the median of these."""
    return [one / other for one, other in zip(numerators, denominators, strict=True)]


def measure(sides: dict[str, dict[str, Any]], pairs: int) -> dict[str, dict[str, Any]]:
    """Starts the worker of each order, all at once, then runs them in turn, ``pairs`` times.

    Before these each has a turn that does not count, in which it compiles and tunes, alone on the machine like all.

    Returns, for each, the seconds of every turn, its peak memory in bytes and the version of what runs.

    Raises ValueError where a side does not start or ends; the message begins with its name.
    """

    def named(name, act):
        try:
            return act()
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    with ExitStack() as stack:

        def start(name):
            return named(name, lambda: stack.enter_context(worker(**sides[name])))

        with ThreadPoolExecutor(len(sides)) as pool:
            workers = dict(zip(sides, pool.map(start, sides), strict=True))
        turns = in_turn({name: partial(named, name, turn) for name, (_, turn) in workers.items()}, pairs)
    return {
        name: {
            "seconds": [each["seconds"] for each in turns[name]],
            "peak_bytes": max(each["peak_bytes"] for each in turns[name]),
            "version": version,
        }
        for name, (version, _) in workers.items()
    }


def against(ours: dict[str, Any], theirs: dict[str, Any], units: float) -> dict[str, Any]:
    """Returns medians of what was measured, in ``units`` a second, and every turn's ratio, ours over theirs."""
    return {
        "ours": units / median(ours["seconds"]),
        "theirs": units / median(theirs["seconds"]),
        "pair_ratios": ratios(theirs["seconds"], ours["seconds"]),
        "peak_bytes": {"ours": ours["peak_bytes"], "theirs": theirs["peak_bytes"]},
        "versions": [ours["version"], theirs["version"]],
    }


def compare(ours: dict[str, Any], theirs: dict[str, Any], pairs: int, units: float) -> dict[str, Any]:
    """Runs both orders in turn and returns what ``against`` does."""
    measured = measure({"ours": ours, "theirs": theirs}, pairs)
    return against(measured["ours"], measured["theirs"], units)
