"""What the commands share: parsing with one-line errors, and the whole of a training command."""

import contextlib
import dataclasses
import errno
import io
import logging
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np
import tyro

from lsg_jax import Run, cache, data, files, gates, load_run, models, plots
from lsg_jax.checkpoint import is_checkpoint
from lsg_jax.config import Config
from lsg_jax.training import parallel
from lsg_jax.training.folder import check_folder
from lsg_jax.training.loop import Diverged, Interrupted, fit, fit_seeds

THRESHOLD = 0.5
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room and repeat the same command"),
    errno.EACCES: "choose another path, or have its owner permit it",
}
_Options = TypeVar("_Options")


def main(command: Callable[[], None]) -> None:
    """Runs a command; a ValueError, an OSError or no memory becomes one line and exit status 2, a signal 130 or 143."""
    for name in ("absl", "asyncio"):  # where Orbax writes the traceback of what it raises as well
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = partial(_unraisable, sys.unraisablehook)
    ours = logging.getLogger("lsg_jax")
    ours.setLevel(logging.INFO)
    ours.handlers = [logging.StreamHandler()]
    ours.propagate = False
    keep_programs()
    try:
        command()
    except Interrupted as stop:
        print("saved; repeat the same command to resume", file=sys.stderr)
        sys.exit(128 + stop.signum)
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in first:
            _fail(f"out of memory ({first}); in training, try a smaller --batch-size or fewer --seeds")
        if not jax.distributed.is_initialized():
            raise
        _fail(f"JAX stopped ({first}); if another process has ended, repeat the command on all", status=1)
    except Diverged as error:
        _fail(str(error), status=1)
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        _fail(f"{error}; {remedy}" if remedy else str(error))
    except ValueError as error:
        _fail(str(error))
    except (RuntimeError, AssertionError):  # the latter where JAX has a plugin for what was asked for, and no device
        if (asked := os.environ.get("JAX_PLATFORMS")) is None or _has_device():
            raise
        _fail(
            f"JAX finds no device for JAX_PLATFORMS={asked}; leave that unset, or for an NVIDIA GPU install .[cuda12]"
        )


def _has_device() -> bool:
    try:
        return bool(jax.devices())
    except (RuntimeError, AssertionError):
        return False


def _unraisable(say: Callable[[Any], object], hidden: Any) -> None:
    """Says nothing of Orbax's writers that outlive a save that failed: they report to an event loop that is gone."""
    if str(hidden.exc_value) != "Event loop is closed":
        say(hidden)


def keep_programs() -> None:
    """Has JAX keep every program that it compiles for the next command, and not only those that took a second."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache.folder() / f"programs-{cache.processor()}"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def parse(options: type[_Options], description: str, default: Any = tyro.MISSING_NONPROP) -> _Options:
    """Parses the command line with tyro; what it rejects becomes one line and exit status 2.

    A path that starts with ~ lies in the user's home, as shells have it only where the ~ starts a word.
    """
    file, stderr = Path(sys.argv[0]), io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            parsed = tyro.cli(
                options,
                prog=f"python -m {file.parent.name}.{file.stem}",
                default=default,
                description=description,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        words = "".join(" " if character in "╭╮╰╯│─" else character for character in stderr.getvalue()).split()
        ascii_box = set("+-|")
        message = (
            " ".join(word for word in words if set(word) - ascii_box)
            .split("For full helptext")[0]
            .split(" Argument helptext:")[0]
            .strip()
        )
        for reason, wanted in (("invalid literal for int", "a whole number"), ("could not convert", "a number")):
            message = re.sub(rf"Error parsing (--\S+): {reason}.*: ", rf"\1 must be {wanted}, got ", message)
        for kind, wanted in (("INT", "a whole number"), ("FLOAT", "a number")):
            reason = rf"no type matching {{None}}\|{kind} could be instantiated from \[(.*?)\].*"
            message = re.sub(rf"Error parsing (--\S+): {reason}", rf"\1 must be {wanted}, got \2", message)
        titles = r"Value error |Error parsing \S+: |Unrecognized options |Missing argument |Invalid choice "
        message = re.sub(rf"^({titles})+|Required options ", "", message)
        message = re.sub(r"Missing from python -m \S+: ", r"missing option: ", message)
        _fail(f"{message}; see --help")
    return _expanded(parsed)


def _expanded(value: Any) -> Any:
    if isinstance(value, Path):
        return files.expanded(value)
    if isinstance(value, tuple):
        return tuple(map(_expanded, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (field.name for field in dataclasses.fields(value))
        return dataclasses.replace(value, **{name: _expanded(getattr(value, name)) for name in fields})
    return value


def train(default: Config, description: str) -> None:
    """Trains, or resumes, the run that the command line describes; then shows what was learned."""
    config = parse(Config, description, default)
    if config.run.coordinator is not None:
        parallel.join(config.run.coordinator, config.run.processes, config.run.process)
        if not parallel.is_first():
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the first speaks for all
    else:
        parallel.use_cores(config.run.seeds)
    folder = config.run.output or default_folder(config, default)
    seeds, config = config.run.seeds, dataclasses.replace(config, run=dataclasses.replace(config.run, seeds=1))
    if parallel.is_first():
        for each in (folder, folder / "checkpoints", folder / "figures"):
            check_writable(each)
    dataset = data.load(config.data.dataset, config.data.data_dir, config.data.train_examples, config.data.holdout)
    model = models.create(config.model, len(dataset.class_names))
    config.check_used(len(dataset.class_names), model.num_filters)
    config = config.resolve(len(dataset.train.labels), len(dataset.class_names), model.num_filters)
    if seeds == 1:
        check_folder(config, folder)
    if config.gate == "learned":
        print(f"a = {config.lsg.sparsity_weight:.4g}, s = {config.lsg.sparsity_target:g}; ", end="")
        if not config.gated_epochs():
            print("no epoch is gated, so the gate stays as it starts; ", end="")
    print(f"{len(dataset.train.labels)} training images, run folder {folder}", flush=True)
    histories = [fit(config, dataset, folder)] if seeds == 1 else fit_seeds(config, dataset, folder, seeds)
    if not parallel.is_first():
        return
    if seeds == 1:
        _summarize(folder, histories[0])
    else:
        _summarize_seeds(folder, histories)


def default_folder(config: Config, default: Config) -> Path:
    """Returns runs/<data set>-<gate>, followed by every setting that is not the command's default."""
    ours, theirs = config.settings(), default.settings()
    changed = [f"{name}={ours[name]}" for name in ours if ours[name] != theirs[name] and name != "gate"]
    if config.run.seeds > 1:
        changed.append(f"seeds={config.run.seeds}")
    name = "-".join([config.data.dataset, config.gate, *changed]).replace("/", "_")
    if len(name) > 200:
        raise ValueError(f"so many settings make too long a folder name ({len(name)} characters); give --output")
    return Path("runs") / name


def save_figure(figure: Any, file: Path) -> None:
    """Writes a PNG."""
    files.publish(file, lambda temporary: figure.savefig(temporary, dpi=150, format="png"))


def _summarize(folder: Path, history: list[dict[str, Any]]) -> None:
    run = load_run(folder)
    gate, last = np.asarray(run.gate), history[-1]
    save_figure(
        plots.gate_matrices({f"gate after {len(history)} epochs": gate}, run.class_names), folder / "figures/gate.png"
    )
    save_figure(plots.curves(history), folder / "figures/curves.png")
    owned = gates.ownership(run.gate, THRESHOLD)
    filters = ", ".join(f"{name}: {n}" for name, n in zip(run.class_names, owned.monopolised.tolist(), strict=True))
    rows = [
        ("", "accuracy", "cross entropy (nats)"),
        ("STD path", f"{last['test_accuracy']:.4f}", f"{last['test_cross_entropy']:.4f}"),
        ("LSG path, true labels", f"{last['lsg_test_accuracy']:.4f}", f"{last['lsg_test_cross_entropy']:.4f}"),
    ]
    print()
    for name, accuracy, entropy in rows:
        print(f"{name:24s}{accuracy:>10s}{entropy:>24s}")
    print(f"\ngate density             {last['density']:.3f}")
    if run.config.gate != "none":
        print(f"filters monopolised      {filters}; shared {int(owned.shared)} (threshold {THRESHOLD})")
    print(f"training time            {sum(line['seconds'] for line in history):.0f} s")
    print(f"pictures                 {folder / 'figures' / 'gate.png'}, {folder / 'figures' / 'curves.png'}")
    name = shlex.quote(str(folder))
    asked = f"RUN --against {name}" if run.config.gate == "none" else f"{name} --against CONTROL"
    print(f"next                     python -m experiments.report {asked}")
    print("                         RUN and CONTROL: trained alike, with a gate and with --gate=none")


def _summarize_seeds(folder: Path, histories: list[list[dict[str, Any]]]) -> None:
    print(f"\n{'mean and standard deviation over ' + str(len(histories)) + ' seeds':44s}")
    for name, measure in (
        ("accuracy, STD path", "test_accuracy"),
        ("accuracy, LSG path, true labels", "lsg_test_accuracy"),
        ("cross entropy, STD path (nats)", "test_cross_entropy"),
        ("gate density", "density"),
    ):
        values = [history[-1][measure] for history in histories]
        print(f"{name:34s}{np.mean(values):8.4f} ± {np.std(values, ddof=1):.4f}")
    print(f"training time                     {sum(line['seconds'] for line in histories[0]):.0f} s")
    print(f"run folders                       {folder}/seed*")


def output_folder(run: Path, output: Path | None, inside: str = "") -> Path:
    """Returns the folder a command writes to: ``output`` or, by default, the run folder or a folder ``inside`` it."""
    if output is None and is_checkpoint(run):
        raise ValueError(f"{run} is a checkpoint, where nothing else may lie; name a folder with --output")
    return output or run / inside


def check_json(file: Path) -> None:
    """Raises ValueError where ``file`` cannot be an --output with its picture beside it, OSError where it is barred."""
    if file.is_dir() or file.suffix != ".json":
        raise ValueError(f"--output must be a file that ends in .json, got {file}")
    check_writable(file.parent)


def check_writable(folder: Path) -> None:
    """Raises OSError, before anything is computed, if ``folder`` is something else or cannot be written."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
    if not existing.is_dir():
        what = "a file" if existing.exists() else "a link that leads nowhere"
        raise NotADirectoryError(f"{existing} is {what}, not a folder; choose another output folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise PermissionError(
            f"{existing} cannot be written ({error.strerror}); choose another output folder"
        ) from error


def check_finished(path: Path, run: Run) -> None:
    """Raises ValueError where the run of ``path`` has epochs left, or was trained elsewhere."""
    if run.imported:
        raise ValueError(f"{path} was trained elsewhere, and nothing is known of its training; name another run")
    if (done := len(run.history)) < (asked := run.config.optimizer.epochs):
        raise ValueError(f"{path} has {done} of {asked} epochs; finish it first")


def _fail(message: str, status: int = 2) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    if jax.distributed.is_initialized():
        os._exit(status)  # a polite exit would wait for the other processes, which wait for this one
    sys.exit(status)
