"""The faults. Each is a function of random numbers and a new folder; where it raises, it was not survived.

It returns what the moment hit, which is up to chance. What was interrupted and resumed on as many devices has to equal
what was not: theta, batch statistics, G, history and metric lines, bit for bit.
"""

import atexit
import functools
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lsg_jax import Run, load_run, models
from tests.conftest import Tiny
from tests.small_cifar10 import prepare
from tests.test_health import steady

PROJECT = Path(__file__).parents[2]
EPOCHS, STEPS = 7, 5  # STEPS an epoch
OPTIONS = ("--model=tiny", f"--epochs={EPOCHS}", "--train-examples=320", "--batch-size=64", "--checkpoint-every=1")
DIGESTS = "digests.json"  # the last of a checkpoint that is written
WRITTEN = "checkpoints/*.orbax-checkpoint-tmp"  # a checkpoint that is not whole yet
PORTS = 20000, 32000  # below those that Linux gives to whoever asks for any
KINDS = ("metrics", "events", "checkpoints")  # of files that an epoch writes, in this order
GRACE = 30.0  # seconds between a preemption's warning and its end


started: list[subprocess.Popen[str]] = []


class Fault(NamedTuple):
    """How a fault is tried, and how often by ``python -m tests.faults``."""

    survive: Callable[[np.random.Generator, Path], str]
    tries: int


class Whole(NamedTuple):
    """The run that nothing interrupts.

    Attributes:
      folder: where it lies.
      began: how many seconds after its start it began to train.
      ended: when it had trained.
    """

    folder: Path
    began: float
    ended: float


@functools.cache
def whole() -> Whole:
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return uninterrupted(folder / "run")


def uninterrupted(folder: Path) -> Whole:
    finish(folder)  # compiles
    shutil.rmtree(folder)
    start_time, process = time.monotonic(), start(folder)
    times = []
    for reached in (lambda: (folder / "lock").exists(), lambda: epochs(folder) == EPOCHS):
        while not reached():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        times.append(time.monotonic() - start_time)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return Whole(folder, *times)


def start(
    folder: Path,
    *options: str,
    env: dict[str, str] | None = None,
    stdout: int = subprocess.DEVNULL,
) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.tiny", *OPTIONS, f"--output={folder}", *options]
    return launch(command, stdout=stdout, stderr=subprocess.PIPE, env=env)


def launch(command: list[Any], **pipes: Any) -> subprocess.Popen[str]:
    started.append(subprocess.Popen(command, cwd=PROJECT, text=True, **pipes))
    return started[-1]


def end_all() -> None:
    """Ends every process that was started and still runs."""
    while started:
        process = started.pop()
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def finish(folder: Path, *options: str) -> tuple[str, str]:
    """Runs the command to its end and returns what it said on standard output and standard error."""
    process = start(folder, *options, stdout=subprocess.PIPE)
    out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return out, said


def killed(rng: np.random.Generator, folder: Path, after: float = 0.0) -> str:
    """Runs the command until a random moment between ``after``, a share of the time until it has trained, and that."""
    left, process = cut_short(folder), start(folder)
    time.sleep(rng.uniform(after, 1) * whole().ended)
    return end(process, folder, left)


def killed_while_saving(rng: np.random.Generator, folder: Path) -> str:
    """Runs the command until a random moment of, or right after, the writing of one of its checkpoints."""
    left = cut_short(folder)
    process = start(folder)
    time.sleep(rng.uniform(0.9 * whole().began, whole().ended))
    while process.poll() is None and cut_short(folder) <= left:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.1))  # seconds; it takes half of that
    return end(process, folder, left)


def end(process: subprocess.Popen[str], folder: Path, left: set[tuple[Path, int]]) -> str:
    """Kills the command, and returns what it was doing; ``left`` is what others had cut short."""
    ended = process.poll() is not None
    process.kill()
    process.communicate()
    if ended:
        return "nothing: it had ended"
    new = {path for path, _ in cut_short(folder) - left}
    if any(not path.name.isdigit() for path in new):
        return "writing a checkpoint"
    return "writing its digests" if new else "elsewhere"


def cut_short(folder: Path) -> set[tuple[Path, int]]:
    """Returns the checkpoints that are not whole, each with what tells it from a later one of that name."""
    found = set()
    for path in (*folder.glob(WRITTEN), *(each for each in saved(folder) if not (each / DIGESTS).exists())):
        with suppress(FileNotFoundError):  # it is being renamed
            found.add((path, path.stat().st_ino))
    return found


def saved(folder: Path) -> list[Path]:
    """Returns the checkpoints that Orbax has finished, the newest last."""
    found = (path for path in folder.glob("checkpoints/*") if path.name.isdigit())
    return sorted(found, key=lambda path: int(path.name))


def complete(folder: Path) -> list[Path]:
    """Returns those that are whole."""
    return [path for path in saved(folder) if (path / DIGESTS).exists()]


def address() -> str:
    """Returns that of a free port of this machine, which no other program is likely to take before it is used."""
    tried = np.random.default_rng().integers(*PORTS, 20).tolist()
    for port in tried:
        with socket.socket() as free, suppress(OSError):
            free.bind(("", port))
            return f"localhost:{port}"
    raise OSError(f"no port is free among {', '.join(map(str, tried))}")


def opened(folder: Path) -> Run:
    models.MODELS["tiny"] = Tiny
    return load_run(folder)


def arrays(run: Run) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves((run.params, run.batch_stats, run.gate))]


def epochs(folder: Path) -> int:
    """Returns how many epochs are recorded."""
    file = folder / "metrics.jsonl"
    return file.read_text().count("\n") if file.exists() else 0


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text()
    return [untimed(json.loads(line)) for line in text.splitlines()]


def untimed(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("seconds", "images_per_second")}


def events(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("events.*"))


def assert_as_if_nothing_had_been(folder: Path) -> None:
    run, expected = opened(folder), opened(whole().folder)
    assert events(folder) >= events(whole().folder)
    assert lines(folder) == lines(whole().folder)
    assert lines(folder) == [untimed(line) for line in run.history]
    assert all(map(np.array_equal, arrays(run), arrays(expected))), "the parameters differ"


def kill(rng: np.random.Generator, folder: Path) -> str:
    """SIGKILL, up to three times in one run, of which about half are aimed at the writing of a checkpoint."""
    hit = [(killed_while_saving if rng.random() < 0.5 else killed)(rng, folder) for _ in range(rng.integers(1, 4))]
    goes_on(folder)
    return next((each for each in ("writing a checkpoint", "writing its digests", "elsewhere") if each in hit), hit[0])


def warn(number: signal.Signals, rng: np.random.Generator, folder: Path) -> str:
    """SIGTERM or SIGINT: saved within the grace, and the status says which it was; it may compile, or have ended."""
    process = start(folder)
    await_lock(process, folder)
    time.sleep(rng.uniform(0, whole().ended - whole().began))
    if process.poll() is not None:
        return "nothing: it had ended"
    process.send_signal(number)
    trained = epochs(folder)
    _, said = process.communicate(timeout=GRACE)
    assert "Traceback" not in said, said
    stopped = epochs(folder)
    if process.returncode == 0:
        assert trained == EPOCHS, f"it went on after {trained} epochs of {EPOCHS}: {said}"
        hit = "what follows the last epoch"
    elif process.returncode == -number:
        assert stopped == 0, said
        hit = "compiling"
    else:
        assert process.returncode == 128 + number, (process.returncode, said)
        hit = "training" if "saved; repeat the same command" in said else "before or after it"
        if hit == "training":
            assert stopped <= trained + 2, f"{stopped - trained} epochs went by before it stopped"
            assert STEPS * stopped <= int(complete(folder)[-1].name) < STEPS * (stopped + 1)
        else:
            assert stopped in (0, EPOCHS), said
    goes_on(folder)
    return hit


def await_lock(process: subprocess.Popen[str], folder: Path) -> None:
    """Waits until the command is about to train: it holds the lock."""
    lock = folder / "lock"
    while not lock.exists() or not lock.read_text().startswith(f"{process.pid}\n"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def damage(how: Callable[[np.random.Generator, Path], None], rng: np.random.Generator, folder: Path) -> str:
    """A training is killed and a file of its newest checkpoint changed: it says so and goes on from the one before."""
    while len(complete(folder)) < 2 or complete(folder) != saved(folder):
        killed(rng, folder, after=0.3)
    *_, before, newest = complete(folder)
    aside = set(folder.glob("damaged/*"))  # those that were cut short
    files = sorted(path for path in newest.rglob("*") if path.is_file() and (how is remove or path.stat().st_size))
    file = files[rng.integers(len(files))]
    how(rng, file)
    out, said = finish(folder)
    assert_as_if_nothing_had_been(folder)
    assert re.search(rf"warning: checkpoint \S+/{newest.name} is (damaged|incomplete)", said), (
        f"of {file} it was said: {said}"
    )
    assert_resumed(out, before)
    (kept,) = set(folder.glob("damaged/*")) - aside
    assert kept.name.startswith(f"{newest.name}-")
    return re.sub(r"[0-9a-f]{32}", "...", str(file.relative_to(newest)))


def flip(rng: np.random.Generator, file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.write_bytes(content)


def truncate(rng: np.random.Generator, file: Path) -> None:
    os.truncate(file, rng.integers(file.stat().st_size))


def remove(rng: np.random.Generator, file: Path) -> None:
    file.unlink()


def no_large_files(rng: np.random.Generator, folder: Path) -> str:
    """A file of a random kind cannot be written in a random epoch, as it would grow beyond a random size."""
    process, kind = stopped(rng, folder)
    if kind == "checkpoints":
        largest = max(path.stat().st_size for path in complete(whole().folder)[-1].glob("training/*"))
        limit = rng.integers(largest)
    else:
        limit = sum(path.stat().st_size for path in folder.glob(f"{kind}.*")) + rng.integers(100)  # less than is added
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    process.send_signal(signal.SIGCONT)
    error = refused(process, "File too large")
    goes_on(folder)
    assert named(error, folder) == kind, error
    return kind


def stopped(
    rng: np.random.Generator, folder: Path, epochs: dict[str, int] | None = None
) -> tuple[subprocess.Popen[str], str]:
    """Runs the command until it is about to write files of a random kind in a random epoch, and returns that kind.

    ``epochs`` are how many it may be, where these are fewer.
    """
    kind = str(rng.choice(KINDS))
    epoch = rng.integers((epochs or {}).get(kind, EPOCHS))
    process = start(folder, env=os.environ | {"STOP_BEFORE": f"{kind} {epoch}"})
    ended = os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_code == os.CLD_STOPPED, process.communicate()
    return process, kind


def refused(process: subprocess.Popen[str], reason: str) -> str:
    """Awaits the end of a command that has to fail, and returns the one line in which it gives the reason."""
    _, said = process.communicate(timeout=300)
    assert process.returncode == 2, (process.returncode, said)
    (error,) = [line for line in said.splitlines() if not line.startswith("warning: ")]
    assert re.match(f"error: .*{reason}", error), said
    return error


def named(error: str, folder: Path) -> str:
    """Returns what of a run's folder an error line names, without its ending: metrics, events, checkpoints, ..."""
    found = re.search(rf"{re.escape(str(folder))}/(\w+)", error)
    assert found, error
    return found[1]


def goes_on(folder: Path) -> str:
    """The newest checkpoint that is whole opens, and training goes on from there, or from the start without any."""
    *_, last = None, *complete(folder)
    if last is not None:
        opened(last)
    out, _ = finish(folder)
    if last is not None and int(last.name) == EPOCHS * STEPS:
        assert "it was finished before" in out, out
    else:
        assert_resumed(out, last)
    assert_as_if_nothing_had_been(folder)
    return "before the first checkpoint" if last is None else "after a checkpoint"


def assert_resumed(out: str, last: Path | None) -> None:
    """Asserts that training went on from the checkpoint ``last``, from the start where there was none."""
    if last is None:
        assert "resuming" not in out, out
    else:
        assert re.search(rf"resuming after epoch \d+, step {last.name}\n", out), out


@contextmanager
def disk(folder: Path, size: int) -> Iterator[None]:
    """Makes ``folder`` a file system of its own, of ``size`` KiB; only root may."""
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", folder], check=True)


def full_disk(rng: np.random.Generator, folder: Path) -> str:
    """The disk is full as a file of a random kind is to be written; once there is room it goes on.

    A file system in memory has whole pages, which hold all metric lines and events: only the first of them need one.
    """
    mounted, page = folder.parent / "disk", resource.getpagesize()
    with disk(mounted, 1_000_000):
        run = mounted / "run"
        process, kind = stopped(rng, run, {"metrics": 1, "events": 1})
        needed = len([path for path in complete(whole().folder)[-1].rglob("*") if path.is_file()])  # pages, or more
        free = rng.integers(needed) if kind == "checkpoints" else 0
        used = os.statvfs(mounted)
        remount(mounted, f"size={(used.f_blocks - used.f_bfree + free) * page // 1024}k")
        process.send_signal(signal.SIGCONT)
        error = refused(process, "No space left")
        remount(mounted, "size=1g")
        goes_on(run)
        assert named(error, run) == kind, error
        return kind


def read_only(rng: np.random.Generator, folder: Path) -> str:
    """A run was stopped at a random moment and its folder became read-only: one line, and nothing is lost."""
    with disk(folder.parent / "disk", 1_000_000):
        run = folder.parent / "disk" / "run"
        killed(rng, run)
        remount(folder.parent / "disk", "ro")
        refused(start(run), "cannot be written")
        remount(folder.parent / "disk", "rw")
        return goes_on(run)


def becomes_read_only(rng: np.random.Generator, folder: Path) -> str:
    """All of the folder becomes immutable at a random moment of training: one line, and nothing is lost."""
    process = start(folder)
    await_lock(process, folder)
    time.sleep(rng.uniform(0, whole().ended - whole().began))  # pictures are still to be made then
    subprocess.run(["chattr", "-R", "+i", folder], check=True)
    try:
        error = refused(process, "not permitted")
    finally:
        subprocess.run(["chattr", "-R", "-i", folder], check=True)
    goes_on(folder)
    return named(error, folder)


def cut_metrics(rng: np.random.Generator, folder: Path) -> str:
    """metrics.jsonl of a run that may not have ended is cut anywhere."""
    while not epochs(folder):
        killed(rng, folder)
    file = folder / "metrics.jsonl"
    truncate(rng, file)
    rest = file.read_text()
    goes_on(folder)
    return "inside a line" if rest[-1:] not in ("", "\n") else "between lines"


def two_at_once(rng: np.random.Generator, folder: Path) -> str:
    """A second process on the folder is refused with the first's number; a crash leaves no lock behind."""
    first = start(folder, "--epochs=500")
    await_lock(first, folder)
    time.sleep(rng.uniform(0, 1))
    second = start(folder, "--epochs=500")
    _, said = second.communicate(timeout=300)
    assert second.returncode == 2
    assert f"is being trained by process {first.pid};" in said
    assert first.poll() is None
    hit = end(first, folder, set())
    await_lock(start(folder, "--epochs=500"), folder)
    return hit


def other_devices(rng: np.random.Generator, folder: Path) -> str:
    """Killed and resumed on other numbers of devices: the same loss curve, within rounding that training amplifies."""
    settings = "--epochs=40"
    finish(folder / "one", settings)
    order = rng.permutation([1, 2, 8])
    for devices in order:
        trained = epochs(folder / "run")
        *_, last = None, *complete(folder / "run")
        env = os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)}
        process = start(folder / "run", settings, env=env, stdout=subprocess.PIPE)
        goal = trained + rng.integers(1, 5)
        while epochs(folder / "run") < goal:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.kill()
        assert_resumed(process.communicate()[0], last)
    assert epochs(folder / "run") < 40, "nothing was left to resume"
    last = complete(folder / "run")[-1]
    assert_resumed(finish(folder / "run", settings)[0], last)
    assert_same_curve(folder / "run", folder / "one")
    return ", ".join(map(str, order)) + " devices"


def assert_same_curve(folder: Path, other: Path) -> None:
    assert epochs(folder) == epochs(other)
    for ours, theirs in zip(lines(folder), lines(other), strict=True):
        assert ours["epoch"] == theirs["epoch"]
        assert np.isclose(ours["train_loss"], theirs["train_loss"], rtol=1e-3), (ours, theirs)


LOAD = "import sys; from lsg_jax import data; d = data.load('cifar10', sys.argv[1]); print(d.digest(), d.mean, d.std)"


def data_cache(how: Callable[[np.random.Generator, Path], None], rng: np.random.Generator, folder: Path) -> str:
    """A file of the decoded data is changed, and two processes that need it build it again at once."""
    prepare(folder)
    source = folder / "cifar10" / "3.0.2"

    def load() -> subprocess.Popen[str]:
        return launch([sys.executable, "-c", LOAD, folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    expected, _ = load().communicate(timeout=120)
    (cache,) = source.glob("lsg_jax-*")
    files = sorted(cache.iterdir())
    file = files[rng.integers(len(files))]
    how(rng, file)
    both = [load() for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in both] == [expected, expected]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(cache.iterdir()) == files
    assert load().communicate(timeout=120)[0] == expected
    return file.name


def retype(rng: np.random.Generator, file: Path) -> None:
    """Has a file of the decoded data, none of which is f32, hold the same numbers as that."""
    np.save(file, np.load(file).astype(np.float32))


def two_hosts(number: signal.Signals, rng: np.random.Generator, folder: Path) -> str:
    """One of two processes dies or falls silent: the other ends, with a clear error, and both resume.

    The first alone writes, and the curve is that of one process.
    """
    settings = ("--epochs=40", "--checkpoint-every=2")
    one, began = start(folder / "one", *settings, env=os.environ | {"JAX_NUM_CPU_DEVICES": "4"}), time.monotonic()
    _, said = one.communicate(timeout=300)
    assert one.returncode == 0, said
    seconds = time.monotonic() - began

    def begin() -> list[subprocess.Popen[str]]:
        joined = (f"--coordinator={address()}", "--processes=2")
        env = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
        return [
            start(folder / "two", *settings, *joined, f"--process={process}", env=env, stdout=subprocess.PIPE)
            for process in range(2)
        ]

    both = begin()
    while not complete(folder / "two"):
        assert both[0].poll() is None, both[0].communicate()
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.2) * seconds)
    dead, alive = rng.permutation(2)
    assert both[alive].poll() is None, "the run had ended before one of its processes was to die"
    both[dead].send_signal(number)
    _, said = both[alive].communicate(timeout=60)
    assert both[alive].returncode != 0
    assert "another process has ended" in said or "another task died" in said, said
    both[dead].kill()
    both[dead].communicate()
    last, again = complete(folder / "two")[-1], begin()
    for index, process in enumerate(again):
        out, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        if index == 0:  # which speaks for both
            assert_resumed(out, last)
    assert {path.suffix for path in (folder / "two").glob("events.*")} <= {f".{both[0].pid}", f".{again[0].pid}"}
    assert_same_curve(folder / "two", folder / "one")
    return f"process {dead}"


def lasting(rng: np.random.Generator, folder: Path) -> str:
    """A long training neither grows nor compiles again."""
    return steady("experiments.digits", (), 300, folder.parent)


def tested(file: str, chosen: str, rng: np.random.Generator, folder: Path) -> str:
    """Faults that are not a matter of chance: each place once, by the tests of them."""
    process = launch(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{file}", "-k", chosen, "-m", ""],
        stdout=subprocess.PIPE,
    )
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    (passed,) = re.findall(r"^(\d+ passed)", out, re.MULTILINE)
    return f"{passed} of {file}"


FAULTS = {
    "SIGKILL": Fault(kill, 100),
    "SIGTERM": Fault(functools.partial(warn, signal.SIGTERM), 25),
    "SIGINT": Fault(functools.partial(warn, signal.SIGINT), 25),
    "a bit of the newest checkpoint flipped": Fault(functools.partial(damage, flip), 200),
    "a file of the newest checkpoint truncated": Fault(functools.partial(damage, truncate), 20),
    "a file of the newest checkpoint missing": Fault(functools.partial(damage, remove), 20),
    "no room for files": Fault(no_large_files, 20),
    "the disk is full (root only)": Fault(full_disk, 20),
    "the folder is read-only (root only)": Fault(read_only, 20),
    "the folder becomes read-only while training (root only)": Fault(becomes_read_only, 20),
    "metrics.jsonl cut": Fault(cut_metrics, 20),
    "two processes on one folder": Fault(two_at_once, 10),
    "a file of the decoded data truncated, two processes need it": Fault(functools.partial(data_cache, truncate), 10),
    "a file of the decoded data missing, as if an older version had made it": Fault(
        functools.partial(data_cache, remove), 10
    ),
    "a file of the decoded data of another type, as another version might keep it": Fault(
        functools.partial(data_cache, retype), 10
    ),
    "loss, theta, gate or another array not finite": Fault(
        functools.partial(tested, "test_training.py", "diverged or finite"), 1
    ),
    "another configuration than the folder's, every field": Fault(
        functools.partial(tested, "test_run_folder.py", "setting"), 1
    ),
    "a checkpoint of an earlier version": Fault(
        functools.partial(tested, "test_run_folder.py", "earlier or committed"), 1
    ),
    "command lines of random words, 2,000": Fault(functools.partial(tested, "test_fuzz.py", "two_thousand"), 1),
    "memory, descriptors, threads and compilations over 300 epochs": Fault(lasting, 1),
    "another number of devices": Fault(other_devices, 3),
    "one of two hosts dies": Fault(functools.partial(two_hosts, signal.SIGKILL), 3),
    "one of two hosts falls silent": Fault(functools.partial(two_hosts, signal.SIGSTOP), 3),
}
