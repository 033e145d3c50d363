"""The folder of a run while it is trained: lock, configuration, checkpoints, metric lines and TensorBoard events."""

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any

from lsg_jax import files
from lsg_jax.checkpoint import Checkpoints, Damaged
from lsg_jax.config import Config
from lsg_jax.data import Dataset
from lsg_jax.run import describe, describe_data
from lsg_jax.training import events, parallel


class RunFolder:
    """A context manager that holds the folder's lock.

    ``history`` has a dictionary for every epoch, ``seconds`` is what the one after them has taken so far.

    Where several processes train one run, all open its folder, on storage that they share, and the first writes.

    Raises:
      ValueError: if the folder holds a run of another configuration or of other data, is being trained already, or is
        not the same folder for each process.
      OSError: if something cannot be written.
    """

    def __init__(self, config: Config, dataset: Dataset, path: Path):
        check_folder(config, path)
        self.path = path
        self.history: list[dict[str, Any]] = []
        self.seconds = 0.0
        self._config, self._dataset = config, dataset

    def __enter__(self) -> "RunFolder":
        with ExitStack() as stack:
            if parallel.is_first():
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_exclusive(self.path))
                for name in ("config.json", "metrics.jsonl"):
                    files.remove_leftovers(self.path / name)
            parallel.check_shared(self.path)
            self._checkpoints = Checkpoints(self.path / "checkpoints")
            stack.callback(self._checkpoints.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.close()

    @property
    def steps(self) -> list[int]:
        """The steps of the checkpoints, the newest first."""
        return self._checkpoints.steps

    def verifies(self, step: int) -> bool:
        """Tells whether ``restore`` compares the checkpoint of ``step`` with what was saved."""
        return self._checkpoints.has_digests(step)

    def restore(self, step: int, **templates: Any) -> dict[str, Any]:
        """Returns the items of the checkpoint of ``step``, shaped like ``templates``, and takes on its history.

        It writes nothing; ``go_back`` to the same step does.

        Raises Damaged where they are not what was saved, and ValueError where they are of other data, or were saved to
        be opened only.
        """
        saved = self._checkpoints.describe(step)
        ours = describe_data(self._dataset)
        if different := [name for name, theirs in saved["data"].items() if ours.get(name) != theirs]:
            raise ValueError(
                f"{self.path} was trained on other data ({', '.join(different)} differ); choose another --output"
            )
        if not self._checkpoints.has_training(step):
            raise ValueError(
                f"{self.path} was published or imported without what training goes on from; choose another --output, "
                f"with --init={self.path} to start from it"
            )
        restored = self._checkpoints.restore(step, **templates)
        self.history, self.seconds = saved["history"], saved.get("seconds", 0.0)
        return restored

    def go_back(self, step: int | None, damaged: list[int]) -> None:
        """Goes back to the checkpoint of ``step``, or to the start, before the first ``save`` or ``record``.

        It is the first to write what is the run's: until now the folder may have been refused. Later checkpoints are
        removed; the steps that are ``damaged`` are kept in ``damaged/``.
        """
        if step is None:
            self.history, self.seconds = [], 0.0
        if parallel.is_first():
            settings = json.dumps(self._config.to_json(), indent=2) + "\n"
            files.publish_text(self.path / "config.json", settings)
            self._checkpoints.set_aside(damaged, self.path / "damaged")
        parallel.barrier()
        self._checkpoints.reload()
        self._checkpoints.discard_after(step)
        if parallel.is_first():
            lines = "".join(json.dumps(line) + "\n" for line in self.history)
            files.publish_text(self.path / "metrics.jsonl", lines)

    def save(self, step: int, variables: Any, training: Any, *, measured: bool, seconds: float) -> None:
        """Saves a checkpoint; ``measured`` tells whether the last line of ``history`` is about these variables."""
        accuracy = self.history[-1]["test_accuracy"] if measured else None
        run = describe(self._config, self._dataset, self.history) | {"seconds": seconds}
        self._checkpoints.save(step, variables, training, run, accuracy)

    def record(self, line: dict[str, Any]) -> None:
        """Adds the line of an epoch."""
        if parallel.is_first():
            self._write(line)
        self.history.append(line)

    def _write(self, line: dict[str, Any]) -> None:
        file = self.path / "metrics.jsonl"
        with files.naming(file), file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        events.append(self._events, line["epoch"], {k: v for k, v in line.items() if isinstance(v, float)})

    @cached_property
    def _events(self) -> Path:
        """The file that this process adds to; there is none where a finished run is repeated."""
        return self.path / f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"


def check_folder(config: Config, folder: Path) -> None:
    """Raises ValueError if ``folder`` holds a run of another configuration, with the differences; writes nothing.

    Of several processes the first looks, before it writes there.
    """
    if not parallel.is_first() or not folder.is_dir():
        return
    if all(map(_is_of_a_start, folder.iterdir())):
        return
    theirs, ours = _stored_config(folder).settings(), config.settings()
    different = [f"--{name} {theirs[name]} there, {ours[name]} here" for name in ours if theirs[name] != ours[name]]
    if different:
        raise ValueError(f"{folder} holds another run: {'; '.join(different)}; choose another --output")


def check_folder_of_seeds(folder: Path, paths: list[Path]) -> None:
    """Raises ValueError if ``folder`` holds one run, or those of other seeds than of ``paths`` in it; writes nothing.

    Of several processes the first looks.
    """
    if not parallel.is_first():
        return
    if (folder / "config.json").exists() or has_checkpoint(folder):
        raise ValueError(f"{folder} holds a run of one seed; choose another --output")
    trained = {path for path in folder.glob("seed*") if has_checkpoint(path)}
    if trained and (trained - set(paths) or not all(path.is_dir() for path in paths)):
        names = ", ".join(sorted(path.name for path in trained))
        raise ValueError(f"{folder} holds {names}, which are not the seeds asked for; choose another --output")


def _is_of_a_start(path: Path) -> bool:
    """Tells whether it is what a first start leaves that was killed, or refused, before it wrote its configuration."""
    empty = path.is_dir() and not any(path.iterdir())
    return path.name == "lock" or path.suffix == ".tmp" or (path.name == "checkpoints" and empty)


def has_checkpoint(folder: Path) -> bool:
    """Tells whether there is a checkpoint in ``folder`` to go on from; writes nothing."""
    return _newest(folder) is not None


def normalization(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns mean and standard deviation per channel that the run in ``folder`` normalises its images by.

    Raises ValueError where it holds no checkpoint that can be read.
    """
    newest = _newest(folder)
    if newest is None:
        raise ValueError(f"{folder} holds no checkpoint that can be read; choose another --output")
    return tuple(newest["data"]["mean"]), tuple(newest["data"]["std"])


def _newest(folder: Path) -> dict[str, Any] | None:
    """Returns what the newest checkpoint that is as it was saved says of its run, None where there is none."""
    if not (folder / "checkpoints").is_dir():
        return None
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    try:
        for step in checkpoints.steps:
            with suppress(Damaged):
                return checkpoints.describe(step)
        return None
    finally:
        checkpoints.close()


def _stored_config(folder: Path) -> Config:
    """Returns the configuration in config.json or, where that is missing or damaged, in the newest checkpoint."""
    try:
        return Config.from_json(json.loads((folder / "config.json").read_text("utf-8")))
    except (OSError, ValueError) as error:
        if (newest := _newest(folder)) is not None:
            return Config.from_json(newest["config"])
        raise ValueError(f"{folder} is not empty and holds no run; choose another --output") from error


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system takes back when the process ends, however it ends."""
    with (folder / "lock").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ValueError(
                f"{folder} is being trained by process {file.read().strip()}; wait for it or choose another --output"
            ) from error
        except OSError as error:
            raise ValueError(
                f"{folder} cannot be locked ({error.strerror}); choose an --output on another file system"
            ) from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
