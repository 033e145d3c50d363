"""The faults. Each is a function of random numbers and an empty folder; where it raises, it was not survived.

What was interrupted and resumed has to equal what was not: theta, batch statistics, G, history and metric lines, bit
for bit.
"""

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from lsg_jax import Run, load_run, models
from tests.conftest import Tiny
from tests.small_cifar10 import prepare

PROJECT = Path(__file__).parents[2]
OPTIONS = ("--model=tiny", "--epochs=7", "--train-examples=320", "--batch-size=64", "--checkpoint-every=1")
WRITTEN = "checkpoints/*.orbax-checkpoint-tmp"  # a checkpoint that is not whole yet
GRACE = 30.0  # seconds between a preemption's warning and its end
# python -c LIMITED BYTES COMMAND...: runs the command, which can write no file beyond that size.
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, 2 * (int(sys.argv[1]),))
os.execv(sys.argv[2], sys.argv[2:])
"""


started: list[subprocess.Popen[str]] = []


class Fault(NamedTuple):
    """How a fault is tried, and how often by ``python -m tests.faults``."""

    survive: Callable[[np.random.Generator, Path], None]
    tries: int


class Whole(NamedTuple):
    """The run that nothing interrupts: its folder, and how many seconds it takes."""

    folder: Path
    seconds: float


@functools.cache
def whole() -> Whole:
    return uninterrupted(Path(tempfile.mkdtemp()) / "run")


def uninterrupted(folder: Path) -> Whole:
    finish(folder)  # compiles
    shutil.rmtree(folder)
    began = time.monotonic()
    finish(folder)
    return Whole(folder, time.monotonic() - began)


def start(
    folder: Path, *options: str, before: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> subprocess.Popen[str]:
    command = [*before, sys.executable, "-m", "tests.faults.tiny", *OPTIONS, f"--output={folder}", *options]
    pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    started.append(subprocess.Popen(command, cwd=PROJECT, env=env, **pipes))
    return started[-1]


def end_all() -> None:
    """Ends every training that was started and still runs."""
    while started:
        process = started.pop()
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def finish(folder: Path, *options: str) -> str:
    """Runs the command to its end and returns what it said on standard error."""
    process = start(folder, *options)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def killed(rng: np.random.Generator, folder: Path, after: float = 0.0, env: dict[str, str] | None = None) -> None:
    """Runs the command until a random moment between ``after``, a share of the whole run's time, and its end."""
    process = start(folder, env=env)
    time.sleep(rng.uniform(after, 1) * whole().seconds)
    process.kill()
    process.communicate()


def killed_while_saving(rng: np.random.Generator, folder: Path) -> None:
    """Runs the command until a random moment of, or right after, the writing of one of its checkpoints."""
    left = set(folder.glob(WRITTEN))  # by one that was killed before
    process = start(folder)
    time.sleep(rng.uniform(0.4, 1) * whole().seconds)
    while process.poll() is None and set(folder.glob(WRITTEN)) <= left:
        time.sleep(0.001)
    time.sleep(rng.uniform(0, 0.1))  # seconds; it takes half of that
    process.kill()
    process.communicate()


def address() -> str:
    """Returns that of a free port of this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def opened(folder: Path) -> Run:
    models.MODELS["tiny"] = Tiny
    return load_run(folder)


def arrays(run: Run) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves((run.params, run.batch_stats, run.gate))]


def lines(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "metrics.jsonl").read_text()
    return [untimed(json.loads(line)) for line in text.splitlines()]


def untimed(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in ("seconds", "images_per_second")}


def assert_as_if_nothing_had_been(folder: Path) -> None:
    run, expected = opened(folder), opened(whole().folder)
    assert lines(folder) == lines(whole().folder)
    assert lines(folder) == [untimed(line) for line in run.history]
    assert all(map(np.array_equal, arrays(run), arrays(expected))), "the parameters differ"


def kill(rng: np.random.Generator, folder: Path) -> None:
    """SIGKILL, up to three times in one run, of which about half are aimed at the writing of a checkpoint."""
    for _ in range(rng.integers(1, 4)):
        end = killed_while_saving if rng.random() < 0.5 else killed
        end(rng, folder)
    finish(folder)
    assert_as_if_nothing_had_been(folder)


def warn(number: signal.Signals, rng: np.random.Generator, folder: Path) -> None:
    """SIGTERM or SIGINT: saved within the grace, and the status says which it was."""
    process = start(folder)
    while not heeds_sigterm(process):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(rng.uniform(0, whole().seconds))
    process.send_signal(number)
    began = time.monotonic()
    _, said = process.communicate(timeout=GRACE)
    assert time.monotonic() - began < GRACE
    assert process.returncode in (0, 128 + number), (process.returncode, said)
    assert "Traceback" not in said, said
    finish(folder)
    assert_as_if_nothing_had_been(folder)


def heeds_sigterm(process: subprocess.Popen[str]) -> bool:
    """Tells whether the command has begun: before it, a signal ends Python, and there is nothing to save."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (caught,) = re.findall(r"SigCgt:\s*(\w+)", status)
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def newest(folder: Path) -> Path:
    return max(folder.glob("checkpoints/*"), key=lambda path: int(path.name) if path.name.isdigit() else -1)


def damage(how: Callable[[np.random.Generator, Path], None], rng: np.random.Generator, folder: Path) -> None:
    """A training is killed and a file of its newest checkpoint changed: it says so and goes on from the one before."""
    while sum(path.name.isdigit() for path in folder.glob("checkpoints/*")) < 2:
        killed(rng, folder, after=0.3)
    checkpoint = newest(folder)
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.stat().st_size)
    file = files[rng.integers(len(files))]
    how(rng, file)
    said = finish(folder)
    assert_as_if_nothing_had_been(folder)
    noticed = "is damaged" in said or "is incomplete" in said
    assert (folder / "damaged").exists() == noticed, said
    if file.name != "commit_success.txt":  # whose being there is all that counts
        assert noticed, f"{file} was changed, and nothing said: {said}"


def flip(rng: np.random.Generator, file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[rng.integers(len(content))] ^= 1 << rng.integers(8)
    file.write_bytes(content)


def truncate(rng: np.random.Generator, file: Path) -> None:
    os.truncate(file, rng.integers(file.stat().st_size))


def remove(rng: np.random.Generator, file: Path) -> None:
    file.unlink()


def no_large_files(rng: np.random.Generator, folder: Path) -> None:
    """No file can grow beyond a random size, from a random epoch on: one line, and the checkpoints are intact."""
    if rng.random() < 0.7:
        killed(rng, folder)
    sizes = [path.stat().st_size for path in whole().folder.rglob("*") if path.is_file()]
    limit = int(rng.uniform(0, max(sizes)))
    process = start(folder, before=(sys.executable, "-c", LIMITED, str(limit)))
    _, said = process.communicate(timeout=300)
    if process.returncode:
        (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert "Traceback" not in said, said
        assert "File too large" in error, error
    finish(folder)
    assert_as_if_nothing_had_been(folder)


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


def full_disk(rng: np.random.Generator, folder: Path) -> None:
    """The disk is full at a random moment: one line, and once there is room the run goes on."""
    size = sum(path.stat().st_size for path in whole().folder.rglob("*") if path.is_file()) // 1024
    with disk(folder.parent / "disk", int(rng.uniform(8, 1.5 * size))):
        run = folder.parent / "disk" / "run"
        process = start(run)
        _, said = process.communicate(timeout=300)
        if process.returncode:
            (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
            assert "Traceback" not in said, said
            assert "No space left" in error, error
        remount(folder.parent / "disk", "size=1g")
        finish(run)
        assert_as_if_nothing_had_been(run)


def read_only(rng: np.random.Generator, folder: Path) -> None:
    """A run was stopped at a random moment and its folder became read-only: one line, and nothing is lost."""
    with disk(folder.parent / "disk", 1_000_000):
        run = folder.parent / "disk" / "run"
        killed(rng, run)
        remount(folder.parent / "disk", "ro")
        process = start(run)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 2
        (error,) = said.splitlines()
        assert error.startswith("error: "), error
        assert "cannot be written" in error, error
        remount(folder.parent / "disk", "rw")
        finish(run)
        assert_as_if_nothing_had_been(run)


def becomes_read_only(rng: np.random.Generator, folder: Path) -> None:
    """All of the folder becomes immutable at a random moment of training: one line, and nothing is lost."""
    process = start(folder)
    while not (folder / "lock").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    time.sleep(rng.uniform(0, 1) * whole().seconds)
    subprocess.run(["chattr", "-R", "+i", folder], check=True)
    try:
        _, said = process.communicate(timeout=300)
    finally:
        subprocess.run(["chattr", "-R", "-i", folder], check=True)
    if process.returncode:
        assert process.returncode == 2, said
        (error,) = said.splitlines()
        assert error.startswith("error: "), error
        assert "not permitted" in error, error
    finish(folder)
    assert_as_if_nothing_had_been(folder)


def cut_metrics(rng: np.random.Generator, folder: Path) -> None:
    """metrics.jsonl ends in the middle of a line, or of nothing."""
    shutil.copytree(whole().folder, folder)
    truncate(rng, folder / "metrics.jsonl")
    finish(folder)
    assert_as_if_nothing_had_been(folder)


def two_at_once(rng: np.random.Generator, folder: Path) -> None:
    """A second process on the folder is refused with the first's number; a crash leaves no lock behind."""
    first = start(folder, "--epochs=500")
    while not (folder / "lock").exists() or not (folder / "lock").read_text():
        assert first.poll() is None
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 1))
    second = start(folder, "--epochs=500")
    _, said = second.communicate(timeout=300)
    assert second.returncode == 2
    assert f"is being trained by process {first.pid};" in said
    assert first.poll() is None
    first.kill()
    first.communicate()
    third = start(folder, "--epochs=500")
    while re.match(rf"{third.pid}\n", (folder / "lock").read_text()) is None:
        assert third.poll() is None
        time.sleep(0.02)


def other_devices(rng: np.random.Generator, folder: Path) -> None:
    """Resumed on other numbers of devices: the same loss curve, within rounding that training amplifies."""
    for devices in rng.permutation([1, 2, 8]):
        killed(rng, folder, after=0.5, env=os.environ | {"JAX_NUM_CPU_DEVICES": str(devices)})
    finish(folder)
    for ours, theirs in zip(lines(folder), lines(whole().folder), strict=True):
        assert np.isclose(ours["train_loss"], theirs["train_loss"], rtol=1e-3), (ours, theirs)


LOAD = "import sys; from lsg_jax import data; d = data.load('cifar10', sys.argv[1]); print(d.digest(), d.mean, d.std)"


def data_cache(how: Callable[[np.random.Generator, Path], None], rng: np.random.Generator, folder: Path) -> None:
    """A file of the decoded data is changed, and two processes that need it build it again at once."""
    prepare(folder)
    source = folder / "cifar10" / "3.0.2"

    def load() -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        return subprocess.Popen([sys.executable, "-c", LOAD, folder], **pipes)

    expected, _ = load().communicate(timeout=120)
    (cache,) = source.glob("lsg_jax-*")
    files = sorted(cache.iterdir())
    how(rng, files[rng.integers(len(files))])
    both = [load() for _ in range(2)]
    assert [process.communicate(timeout=120)[0] for process in both] == [expected, expected]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(cache.iterdir()) == files
    assert load().communicate(timeout=120)[0] == expected


def two_hosts(rng: np.random.Generator, folder: Path) -> None:
    """One of two processes dies: the other ends with a clear error, and both resume. One process: the same curve."""
    settings = ("--epochs=40", "--checkpoint-every=2")
    one, began = start(folder / "one", *settings, env=os.environ | {"JAX_NUM_CPU_DEVICES": "4"}), time.monotonic()
    _, said = one.communicate(timeout=300)
    assert one.returncode == 0, said
    seconds = time.monotonic() - began

    def begin() -> list[subprocess.Popen[str]]:
        joined = (f"--coordinator={address()}", "--processes=2")
        env = os.environ | {"JAX_NUM_CPU_DEVICES": "2"}
        return [start(folder / "two", *settings, *joined, f"--process={process}", env=env) for process in range(2)]

    metrics = folder / "two" / "metrics.jsonl"
    both = begin()
    while not metrics.exists() or not metrics.read_text():
        assert both[0].poll() is None, both[0].communicate()
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.2) * seconds)
    dead, alive = rng.permutation(2)
    assert both[alive].poll() is None, "the run had ended before one of its processes was to die"
    both[dead].kill()
    both[dead].communicate()
    _, said = both[alive].communicate(timeout=60)
    assert both[alive].returncode != 0
    assert "another process has ended" in said or "another task died" in said, said
    for process in begin():
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert len(lines(folder / "two")) == 40
    for ours, theirs in zip(lines(folder / "two"), lines(folder / "one"), strict=True):
        assert ours["epoch"] == theirs["epoch"]
        assert np.isclose(ours["train_loss"], theirs["train_loss"], rtol=1e-3), (ours, theirs)


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
    "another number of devices": Fault(other_devices, 3),
    "one of two hosts dies": Fault(two_hosts, 3),
}
