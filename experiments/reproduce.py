"""The paper's runs from nothing to results/: what is done stays, and what was stopped goes on."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from experiments import cli, stored, verdicts
from experiments.plans import PLANS, Plan
from lsg_jax import import_torch, save_run
from lsg_jax.config import Unset


@dataclass(frozen=True)
class Options:
    """Which runs to make, and where."""

    plans: tyro.conf.Positional[tuple[str, ...]]
    """One or more of: digits, seeds (digits, six of each arm), digits-gates and digits-gates-denser (twenty learned
    gates), cifar10 (from scratch), scratch (its arms of 31 epochs, compared), paper-resnet20 and paper-alexnet (151
    epochs, in bfloat16, three seeds of four of seven arms: for a GPU), tuning (the gate's settings, on held-out
    training images), and, from the weights of --init, finetune and weights (the costs' weights, on held-out training
    images)."""
    init: Unset[Path] = None
    """For finetune and weights: the PyTorch checkpoint of a ResNet-20 to start from."""
    data_dir: Unset[Path] = None
    """The TFDS data directory that holds CIFAR-10."""
    runs: Path = Path("runs")
    """The folder that the runs are trained in."""
    results: Path = Path("results")
    """The folder that gets runs/NAME, a small copy of each run with its report, and README.md."""

    def __post_init__(self) -> None:
        for plan in self.plans:
            if plan not in PLANS:
                raise ValueError(f"unknown plan {plan!r}; choose one or more of: {', '.join(PLANS)}")
        if not self.plans or len(set(self.plans)) < len(self.plans):
            raise ValueError(f"name one plan or more, and none twice; got {' '.join(self.plans) or 'none'}")
        if any(PLANS[plan].pretrained for plan in self.plans) != (self.init is not None):
            plans = " and ".join(name for name, plan in PLANS.items() if plan.pretrained)
            got = " ".join(self.plans)
            raise ValueError(f"--init goes with the plans {plans}, and only with them; got {got} and {self.init}")


def progress(plans: Mapping[str, Plan], *folders: Path, now: str = "") -> str:
    """Returns which runs are done, how far the others are in whichever of the folders, and how long the rest takes.

    ``now`` is the run whose turn it is.
    """
    lines, told, left, work, seconds = [], set(), 0.0, 0.0, 0.0
    for name, plan in plans.items():
        done = [max((_lines(folder / each.name) for folder in folders), key=len) for each in plan.trainings]
        whole = sum(len(epochs) >= training.epochs for training, epochs in zip(plan.trainings, done, strict=True))
        lines.append(f"{name}: {whole} of {len(done)} runs trained")
        for training, epochs in zip(plan.trainings, done, strict=True):
            if training.name in told:
                continue
            told.add(training.name)
            if len(epochs) < training.epochs:
                mark = ", now" if training.name == now else ""
                lines.append(f"  {training.name:36s}{len(epochs):4d} of {training.epochs} epochs{mark}")
            cost = plan.cost * training.cost
            seconds += sum(epoch["seconds"] for epoch in epochs)
            work += len(epochs) * cost
            left += (training.epochs - len(epochs)) * cost
    if left:
        time_left = f"about {seconds / work * left / 60:.0f} minutes" if work else "an unknown time"
        lines.append(f"{time_left} of training left, and reports: a minute each, a quarter of an hour with attacks")
    return "\n".join(lines)


def _lines(run: Path) -> list[dict[str, Any]]:
    """Returns the whole lines of a run's metrics; a line that was cut is mended where training goes on."""
    lines: list[dict[str, Any]] = []
    file = next((each for each in (run / "metrics.jsonl", run / "seed0/metrics.jsonl") if each.is_file()), None)
    for line in [] if file is None else file.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def reproduce(options: Options) -> None:
    """Trains each run of the plans, copies it to the results, reports on it, and writes the page of results."""
    if options.init is not None:
        _import(options.init, options)
    for name in options.plans:
        _reproduce(name, options)


def _import(checkpoint: Path, options: Options) -> None:
    """Gives the results the network that plans start from, with its report; what is wrong with it is said first."""
    start, copy = import_torch(checkpoint), options.results / "runs" / checkpoint.stem
    if not copy.exists():
        save_run(start, copy)
    if not _is_reported(copy / "report.json", None):
        _command("report", copy, "--attack-images=0", *_data("cifar10", options))


def _data(command: str, options: Options) -> list[str]:
    from_tfds = command == "cifar10" and options.data_dir is not None
    return [f"--data-dir={options.data_dir}"] if from_tfds else []


def _reproduce(name: str, options: Options) -> None:
    plan = PLANS[name]
    copies, summary = options.results / "runs", options.results / f"{plan.summary}-{name}.json"
    runs = _folders(plan, options)
    summarized = plan.summary is None or _is_of(summary, runs, plan.attack_images)
    unreported = [
        training.name
        for training in plan.trainings
        if plan.kept
        and not _is_reported(copies / training.name / "report.json", training.control, training.attack_images)
    ]
    if plan.summary and summarized and not unreported:
        print(f"{summary} is there already; remove it to make it again")
        return
    initial = options.init if plan.pretrained else None
    data = _data(plan.command, options)
    for training in plan.trainings:
        plans = {each: PLANS[each] for each in options.plans}
        print(progress(plans, options.runs, copies, now=training.name), flush=True)
        run, copy = options.runs / training.name, copies / training.name
        start = initial if training.start is None else copies / training.start
        settings = [*training.options, f"--epochs={training.epochs}", *([] if start is None else [f"--init={start}"])]
        train = partial(_command, plan.command, *settings, f"--seeds={plan.seeds}", *data, f"--output={run}")
        if not plan.kept:
            train()
            continue
        if not copy.exists():
            train()
            _command("publish", run, copy)
        if training.name in unreported:
            against = [] if training.control is None else [f"--against={copies / training.control}"]
            _command("report", copy, *against, f"--attack-images={training.attack_images}", *data)
        _command("results", f"--folder={options.results}")
    if plan.summary and not summarized:
        reading = [*data, f"--attack-images={plan.attack_images}"] if plan.summary == "tradeoff" else []
        _command(plan.summary, *runs, *reading, f"--output={summary}")
        _command("results", f"--folder={options.results}")


def _is_reported(report: Path, control: str | None, attack_images: int = 0) -> bool:
    """Tells whether there is a report of this version against that control, with as many images attacked at least."""
    try:
        content = verdicts.read(report)
    except (OSError, ValueError):
        return False
    others = [] if control is None else [control]
    attacks = content["claims"].get("attacks", {"numbers": {}})["numbers"]
    attacked = min((each["images"] for each in attacks.get(content["networks"][0], {}).values()), default=0)
    return content["networks"][1:] == others and attacked >= attack_images


def _folders(plan: Plan, options: Options) -> list[Path]:
    """Returns the folders of all runs of a plan, as its summary names them."""
    folder = options.results / "runs" if plan.kept else options.runs
    seeds = [f"seed{seed}" for seed in range(plan.seeds)] if plan.seeds > 1 else ["."]
    return [folder / each.name / seed for each in plan.trainings for seed in seeds]


def _is_of(summary: Path, runs: list[Path], attack_images: int) -> bool:
    """Tells whether there is a summary of this version, of all these runs and with so many images attacked."""
    try:
        content = stored.read(summary)
    except (OSError, ValueError):
        return False
    attacked = re.search(r"--attack-images=(\d+)", content["command"])
    return int(attacked[1] if attacked else 0) >= attack_images and list(content["runs"]) == list(map(str, runs))


def _command(name: str, *arguments: str | Path) -> None:
    """Runs a command to its end, which a signal brings about sooner; where it fails, it has said why."""
    with subprocess.Popen([sys.executable, "-m", f"experiments.{name}", *map(str, arguments)]) as command:
        # A terminal sends SIGINT to the command too, so only SIGTERM has to be handed on.
        actions = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: command.terminate()}
        before = {number: signal.signal(number, action) for number, action in actions.items()}
        try:
            status = command.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
    if status:
        raise SystemExit(status if status > 0 else 128 - status)


if __name__ == "__main__":
    cli.main(lambda: reproduce(cli.parse(Options, __doc__ or "")))
