"""Orbax checkpoints that hold theta and G together, with the digests of their files."""

import hashlib
import itertools
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lsg_jax import files, machine

# Of what a checkpoint means: 1 had other strided convolutions (XLA's 'SAME') and did not say so; 2 may lack digests.
_FORMAT, _READABLE = 3, (2, 3)
_LAST_OF_FORMAT_1 = "0884873"  # the commit of this repository before its convolutions became these
_DIGESTS = "digests.json"


class Damaged(ValueError):
    """A checkpoint that cannot be read, or does not hold what was saved."""


class Incomplete(Damaged):
    """A checkpoint without its digests: its process was killed right after it was saved, or they were removed."""


class Checkpoints:
    """The ``checkpoints/`` of a run folder: the last three and the best by test accuracy.

    Each holds ``variables`` (params, batch_stats, gate), ``training`` (optimizer states, counters, running totals) and
    ``run`` (configuration, data description, history), so that one is enough to rebuild the model. The digests of its
    files are saved beside them, and compared before they are read.
    """

    def __init__(self, folder: Path, read_only: bool = False):
        if read_only:
            this = jax.process_index()  # which opens it without waiting for other processes of a run
            options = ocp.CheckpointManagerOptions(
                read_only=True,
                create=False,
                save_interval_steps=0,
                multiprocessing_options=ocp.options.MultiprocessingOptions(
                    primary_host=this, active_processes={this}, barrier_sync_key_prefix=f"process{this}"
                ),
            )
        else:
            options = ocp.CheckpointManagerOptions(preservation_policy=self, enable_async_checkpointing=False)
        handlers = {
            "variables": ocp.StandardCheckpointHandler(),
            "training": ocp.StandardCheckpointHandler(),
            "run": ocp.JsonCheckpointHandler(),
        }
        self._accuracies: dict[int, float | None] = {}  # by step
        with _only_errors(logging.getLogger("absl")) if read_only else nullcontext():  # it warns of being read-only
            self._manager = ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handlers)

    @property
    def steps(self) -> list[int]:
        """The steps of the complete checkpoints, the newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Orbax's preservation policy: the last three and the best. Its own forgets metrics where training resumes."""
        steps = [each.step for each in checkpoints]
        accuracies = {step: accuracy for step in steps if (accuracy := self._accuracy(step)) is not None}
        best = max(accuracies, key=lambda step: (accuracies[step], step), default=None)
        return [step == best or step in steps[-3:] for step in steps]

    def _accuracy(self, step: int) -> float | None:
        """Returns the test accuracy of a checkpoint, None where it was not measured, or cannot be read."""
        if step not in self._accuracies:
            try:
                run = json.loads((self._folder(step) / "run" / "metadata").read_text("utf-8"))
                if "test_accuracy" not in run:  # an earlier version's; seconds are those of an unfinished epoch
                    run["test_accuracy"] = None if run.get("seconds") else run["history"][-1]["test_accuracy"]
                self._accuracies[step] = run["test_accuracy"]
            except (OSError, ValueError, AttributeError, LookupError, TypeError):
                self._accuracies[step] = None
        return self._accuracies[step]

    def save(
        self, step: int, variables: Any, training: Any | None, run: dict[str, Any], test_accuracy: float | None
    ) -> None:
        """Saves the checkpoint of ``step``; an interrupted save leaves the earlier ones as they were.

        ``test_accuracy`` is that of these very variables, None where it is not known. Without ``training`` the run
        can be opened but not trained on.

        Raises OSError where it cannot be written.
        """
        self._accuracies[step] = test_accuracy
        run = run | {"format": _FORMAT, "written by": machine.version("lsg-jax"), "test_accuracy": test_accuracy}
        items = {"variables": ocp.args.StandardSave(variables), "run": ocp.args.JsonSave(run)}
        if training is not None:
            items["training"] = ocp.args.StandardSave(training)
        try:
            with files.naming(self._folder(step)):
                self._manager.save(step, args=ocp.args.Composite(**items), force=True)
        except ValueError as error:  # tensorstore's word for what the system refused
            if (code := re.search(r"os_error_code='(\d+)'", str(error))) is None:
                raise
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(self._folder(step))) from error
        if jax.process_index() == 0:
            folder = self._folder(step)
            for mark in folder.rglob("commit_success.txt"):
                mark.write_text("", "utf-8")  # its being there counts; it says where the folder was written
            content = json.dumps(_digests(folder), indent=1) + "\n"
            files.publish_text(folder / _DIGESTS, content)

    def _folder(self, step: int) -> Path:
        return Path(self._manager.directory, str(step))

    def discard_after(self, step: int | None) -> None:
        """Removes the checkpoints of later steps than ``step``, all of them for None."""
        for later in self._manager.all_steps():
            if step is None or later > step:
                self._manager.delete(later)

    def set_aside(self, steps: list[int], folder: Path) -> None:
        """Moves checkpoints to ``folder``, where they are in nobody's way; one process does it for all."""
        for step in steps:
            folder.mkdir(exist_ok=True)
            names = (folder / f"{step}-{count}" for count in itertools.count(1))
            self._folder(step).rename(next(name for name in names if not name.exists()))

    def reload(self) -> None:
        """Looks again which checkpoints there are."""
        self._manager.reload()

    def has_digests(self, step: int) -> bool:
        """Tells whether a checkpoint can be compared with what was saved."""
        return (self._folder(step) / _DIGESTS).is_file()

    def is_complete(self, step: int) -> bool:
        """Tells whether a checkpoint has its digests, which are saved last, or is of a version that had none."""
        return self.has_digests(step) or self._format(step) < _FORMAT

    def has_training(self, step: int) -> bool:
        """Tells whether a checkpoint can be trained on."""
        return (self._folder(step) / "training").is_dir()

    def describe(self, step: int) -> dict[str, Any]:
        """Returns the ``run`` item of a checkpoint.

        Raises Damaged where it is not what was saved, and ValueError where it is of another format.
        """
        run = self._restore(step, run=ocp.args.JsonRestore())["run"]
        if not isinstance(run, dict):
            raise self._damaged(step, "its run item is no dictionary")
        if (found := run.get("format", 1)) not in _READABLE:
            readable = " and ".join(map(str, _READABLE))
            writer = f"lsg-jax {run['written by']}" if run.get("written by") else "the version that wrote it"
            reader = f"commit {_LAST_OF_FORMAT_1} of lsg-jax" if found == 1 else writer
            raise ValueError(
                f"checkpoint {self._folder(step)} is of format {found}, and this version reads formats {readable}; "
                f"train it again, or use {reader}"
            )
        if strange := _strange(run):
            raise self._damaged(step, f"its run item has no {strange}, or a strange one")
        return run

    def restore(self, step: int, **templates: Any) -> dict[str, Any]:
        """Returns the items named, each shaped like its template of arrays or ShapeDtypeStructs.

        Raises Damaged where they are not what was saved, or of other shapes.
        """
        items = {name: ocp.args.StandardRestore(template) for name, template in templates.items()}
        restored = self._restore(step, **items)
        # Orbax compares the shapes of JAX arrays only.
        if jax.tree.map(np.shape, restored) != jax.tree.map(np.shape, templates):
            raise self._damaged(step, "arrays of other shapes")
        return restored

    def _restore(self, step: int, **items: Any) -> dict[str, Any]:
        self._verify(step, items)
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
            return {name: restored[name] for name in items}
        except (OSError, MemoryError) as error:
            if not isinstance(error, FileNotFoundError):
                raise
            raise self._damaged(step, "a part of it is missing") from error
        except Exception as error:  # another structure or version surfaces as any of a dozen types
            raise self._damaged(step, type(error).__name__) from error

    def _verify(self, step: int, items: Iterable[str]) -> None:
        """Raises Damaged where a file is not as it was saved: given one, Orbax leaves failing readers behind.

        Files that others put beside them do not count, but each of the ``items`` must be among what was saved.
        """
        folder = self._folder(step)
        if not self.is_complete(step):
            raise Incomplete(f"checkpoint {folder} is incomplete ({_DIGESTS} is missing)")
        if not self.has_digests(step):
            return
        try:
            saved = dict(json.loads((folder / _DIGESTS).read_text("utf-8")))
        except (ValueError, TypeError) as error:
            raise self._damaged(step, f"{_DIGESTS} is not as it was saved") from error
        if unnamed := sorted(set(items) - {name.partition("/")[0] for name in saved}):
            raise self._damaged(step, f"{_DIGESTS} names no file of {unnamed[0]}")
        found = _digests(folder)
        if different := sorted(name for name in saved if saved[name] != found.get(name)):
            raise self._damaged(step, f"{different[0]} is not as it was saved")

    def _format(self, step: int) -> int:
        """Returns the format that a checkpoint without digests has, this version's where that cannot be read."""
        try:
            return int(json.loads((self._folder(step) / "run" / "metadata").read_text("utf-8")).get("format", 1))
        except (OSError, ValueError, AttributeError, TypeError):
            return _FORMAT

    def _damaged(self, step: int, reason: str) -> Damaged:
        return Damaged(f"checkpoint {self._folder(step)} is damaged or of another version ({reason})")

    def close(self) -> None:
        self._manager.close()


def is_checkpoint(path: Path) -> bool:
    """Tells whether ``path`` names one checkpoint of a run, RUN/checkpoints/STEP; whether there is one it does not."""
    return path.name.isdigit() and path.parent.name == "checkpoints"


def _strange(run: dict[str, Any]) -> str:
    """Returns the name of a part that a ``run`` item lacks, or has of another kind than what is saved; "" for none."""
    data = run.get("data")
    if not isinstance(data, dict):
        return "data"
    shape: Any = data.get("image_shape")
    if not (_is_list(shape, int) and len(shape) == 3 and min(shape) > 0):
        return "image_shape"
    fits = {
        "config": isinstance(run.get("config"), dict),
        "history": _is_list(run.get("history"), dict),
        "class_names": _is_list(data.get("class_names"), str),
        **{name: _is_list(data.get(name), int | float) and len(data[name]) == shape[2] for name in ("mean", "std")},
        "environment": isinstance(run.get("environment", {}), dict),
        "seconds": isinstance(run.get("seconds", 0.0), int | float),
    }
    return next((name for name, fit in fits.items() if not fit), "")


def _is_list(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, kind) for each in value)


def _digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file of a checkpoint."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != _DIGESTS)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@contextmanager
def _only_errors(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)
