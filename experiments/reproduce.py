"""The paper's runs from nothing to results/: what is done stays, and what was stopped goes on."""

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from experiments import attacks, cli, stored
from lsg_jax import import_torch, save_run
from lsg_jax.config import Unset


class Training(NamedTuple):
    """One run of a plan.

    Attributes:
      name: of its folders in runs/ and in results/runs/.
      epochs: how long it is trained; 3 n + 1 of them end on two plain epochs after the last gated one.
      options: what else its command is given.
      control: the name of the run that its report compares it with; without one the report is of it alone.
      start: the name of the run whose weights it starts from.
      cost: of an epoch, as a multiple of the plan's.
      attack_images: how many images its report attacks both networks on.
    """

    name: str
    epochs: int
    options: tuple[str, ...]
    control: str | None = None
    cost: float = 1.0
    start: str | None = None
    attack_images: int = 0


class Plan(NamedTuple):
    """Runs that are trained one after another by ``experiments.COMMAND``.

    Attributes:
      command: trains them.
      trainings: the runs.
      seeds: how many of each are trained, as one program.
      kept: whether the results get a copy and a report of each run.
      summary: the command that looks at all of them at last: tradeoff (all are arms, and one is the control),
        ownership, or none.
      cost: of an epoch of all its seeds, as a multiple of an epoch of one network on all of CIFAR-10.
    """

    command: str
    trainings: tuple[Training, ...]
    cost: float = 1.0
    seeds: int = 1
    kept: bool = True
    summary: str | None = None


_GENTLE = "--gate-loss-weight=0.1"  # results/findings.md: chosen on held-out images
_DENSER = "--sparsity-target=112"  # of 640: the density of the paper's Table 1
_TUNED = ("--learning-rate=0.02",)
_LEARNED = ("--gate=learned", *_TUNED)
_JOINT = ("--gate=learned", "--scheme=joint")
_COSTS = ("--silence-weight=0.5", "--complement-weight=0.1")
_FINETUNED = {
    "none": ("--gate=none", *_TUNED),
    "learned": _LEARNED,
    "fixed": ("--gate=fixed", *_TUNED),
    "silence": (*_LEARNED, "--silence-weight=2"),
    "complement": (*_LEARNED, "--complement-weight=1"),
    "both": (*_LEARNED, "--silence-weight=2", "--complement-weight=1"),
    "joint": (*_JOINT, *_TUNED, *_COSTS),
    "joint-alone": (*_JOINT, *_TUNED),
    "small-costs": (*_LEARNED, *_COSTS),
}
_FINETUNED_SEEDS = {
    "none": range(1, 6),
    "joint": range(1, 6),
    **{name: range(1, 3) for name in ("learned", "silence", "complement", "both")},
}
_HELD_OUT = ("--holdout=5000",)
_FROM_A_CHECKPOINT = ("finetune", "weights")
_SCRATCH = (
    Training("cifar10-none", 31, ("--gate=none",)),
    Training("cifar10-learned", 31, ("--gate=learned", _GENTLE), "cifar10-none", attack_images=attacks.IMAGES),
    Training("cifar10-period6", 31, ("--gate=learned", _GENTLE, "--period=6"), "cifar10-none"),
    Training("cifar10-fixed", 31, ("--gate=fixed", _GENTLE), "cifar10-none"),
    Training("cifar10-fixed-joint", 31, ("--gate=fixed", "--scheme=joint"), "cifar10-none"),
    Training("cifar10-joint", 31, (*_JOINT, _GENTLE), "cifar10-none"),
    Training("cifar10-joint-silence", 31, (*_JOINT, _GENTLE, _COSTS[0]), "cifar10-none"),
    Training("cifar10-joint-complement", 31, (*_JOINT, _GENTLE, _COSTS[1]), "cifar10-none"),
    Training("cifar10-joint-costs", 31, (*_JOINT, _GENTLE, *_COSTS), "cifar10-none", attack_images=attacks.IMAGES),
)
PLANS = {
    "digits": Plan(
        "digits",
        (
            Training("digits-none", 16, ("--gate=none",)),
            Training("digits-learned", 16, ("--gate=learned",), "digits-none", attack_images=10),
            Training("digits-fixed", 16, ("--gate=fixed",), "digits-none"),
        ),
        cost=0.015,
    ),
    "cifar10": Plan(
        "cifar10",
        (
            *_SCRATCH,
            Training("cifar10-no-sparsity", 16, ("--gate=learned", _GENTLE, "--sparsity-weight=0")),
            Training("cifar10-none-longer", 10, ("--gate=none", *_TUNED), start="cifar10-none"),
            Training(
                "cifar10-tightened", 10, ("--gate=tightened", *_TUNED), "cifar10-none-longer", start="cifar10-learned"
            ),
            Training("alexnet-none", 31, ("--model=alexnet", "--gate=none"), cost=2.8),
            Training("alexnet-fixed", 31, ("--model=alexnet", "--gate=fixed", _GENTLE), "alexnet-none", cost=2.8),
        ),
    ),
    "scratch": Plan("cifar10", _SCRATCH, summary="tradeoff"),
    "finetune": Plan(
        "cifar10",
        (
            *(
                Training(
                    f"finetune-{name}",
                    10,
                    options,
                    None if name == "none" else "finetune-none",
                    attack_images=attacks.IMAGES if name in ("learned", "joint") else 0,
                )
                for name, options in _FINETUNED.items()
            ),
            *(
                Training(f"finetune-{name}-seed{seed}", 10, (*_FINETUNED[name], f"--seed={seed}"))
                for name, seeds in _FINETUNED_SEEDS.items()
                for seed in seeds
            ),
        ),
        summary="tradeoff",
    ),
    "seeds": Plan(
        "digits",
        (
            Training("seeds-none", 61, ("--gate=none",)),
            Training("seeds-learned", 61, ("--gate=learned",)),
            Training("seeds-fixed", 61, ("--gate=fixed",)),
            Training("seeds-silence", 61, ("--gate=learned", "--silence-weight=2")),
            Training("seeds-both", 61, ("--gate=learned", "--silence-weight=2", "--complement-weight=1")),
            Training("seeds-joint", 61, _JOINT),
            Training("seeds-joint-silence", 61, (*_JOINT, "--silence-weight=0.5")),
            Training("seeds-complement", 61, ("--gate=learned", "--complement-weight=1")),
            Training("seeds-less-silence", 61, ("--gate=learned", "--silence-weight=0.5")),
            Training("seeds-less-complement", 61, ("--gate=learned", "--complement-weight=0.25")),
            Training("seeds-gentle", 61, ("--gate=learned", _GENTLE)),
            Training("seeds-often", 61, ("--gate=learned", "--period=2")),
            Training("seeds-sharp", 61, ("--gate=learned", "--sparsity-weight=2")),
        ),
        cost=0.04,
        seeds=6,
        kept=False,
        summary="tradeoff",
    ),
    "digits-gates": Plan(
        "digits",
        (Training("digits-gates", 31, ("--gate=learned",)),),
        cost=0.23,
        seeds=20,
        kept=False,
        summary="ownership",
    ),
    "digits-gates-denser": Plan(
        "digits",
        (Training("digits-gates-denser", 31, ("--gate=learned", _DENSER)),),
        cost=0.23,
        seeds=20,
        kept=False,
        summary="ownership",
    ),
    "tuning": Plan(
        "cifar10",
        tuple(
            Training(f"tuning-{name}", 13, (*_HELD_OUT, "--train-examples=20000", *options))
            for name, options in (
                ("none", ("--gate=none",)),
                ("lambda=1", ("--gate=learned",)),
                ("lambda=0.1", ("--gate=learned", _GENTLE)),
                ("lambda=0.03", ("--gate=learned", "--gate-loss-weight=0.03")),
                ("a=2", ("--gate=learned", _GENTLE, "--sparsity-weight=2")),
                ("a=20", ("--gate=learned", _GENTLE, "--sparsity-weight=20")),
                ("s=112", ("--gate=learned", _GENTLE, _DENSER)),
                ("gate-rate=0.03", ("--gate=learned", _GENTLE, "--gate-learning-rate=0.03")),
                ("gate-rate=0.3", ("--gate=learned", _GENTLE, "--gate-learning-rate=0.3")),
                ("period=6", ("--gate=learned", _GENTLE, "--period=6")),
                ("fixed-lambda=1", ("--gate=fixed",)),
                ("fixed-lambda=0.1", ("--gate=fixed", _GENTLE)),
                ("fixed-joint", ("--gate=fixed", "--scheme=joint")),
            )
        ),
        cost=0.4,
        kept=False,
        summary="tradeoff",
    ),
    "weights": Plan(
        "cifar10",
        tuple(
            Training(f"weights-{name}", 10, (*_TUNED, *_HELD_OUT, *options))
            for name, options in (
                ("none", ("--gate=none",)),
                ("silence=0-complement=0", _JOINT),
                ("silence=0.25-complement=0.05", (*_JOINT, "--silence-weight=0.25", "--complement-weight=0.05")),
                ("silence=0.5-complement=0.1", (*_JOINT, *_COSTS)),
                ("silence=1-complement=0.2", (*_JOINT, "--silence-weight=1", "--complement-weight=0.2")),
                ("silence=0.5", (*_JOINT, "--silence-weight=0.5")),
                ("complement=0.1", (*_JOINT, "--complement-weight=0.1")),
            )
        ),
        cost=0.9,
        kept=False,
        summary="tradeoff",
    ),
    **{
        f"paper-{model}": Plan(
            "cifar10",
            tuple(
                Training(f"paper-{model}-{name}", 151, (f"--model={model}", "--precision=bfloat16", *options))
                for name, options in (
                    ("none", ("--gate=none",)),
                    ("learned", ("--gate=learned",)),
                    ("gentle", ("--gate=learned", _GENTLE)),
                    ("fixed", ("--gate=fixed",)),
                )
            ),
            cost=cost,
            seeds=3,
            kept=False,
            summary="tradeoff",
        )
        for model, cost in (("resnet20", 3), ("alexnet", 8.4))
    },
}


@dataclass(frozen=True)
class Options:
    """Which runs to make, and where."""

    plans: tyro.conf.Positional[tuple[str, ...]]
    """One or more of: digits, seeds (digits, six of each arm), digits-gates and digits-gates-denser (twenty learned
    gates), cifar10 (from scratch), scratch (its arms of 31 epochs, compared), paper-resnet20 and paper-alexnet (151
    epochs, three seeds of each arm, in bfloat16: for a GPU), tuning (the gate's settings, on held-out training images),
    and, from the weights of --init, finetune and weights (the costs' weights, on held-out training images)."""
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
        if bool(set(_FROM_A_CHECKPOINT) & set(self.plans)) != (self.init is not None):
            plans, got = " and ".join(_FROM_A_CHECKPOINT), " ".join(self.plans)
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
    for line in [] if file is None else file.read_text().splitlines():
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
    summarized = plan.summary is None or _is_of(summary, runs)
    unreported = [
        training.name
        for training in plan.trainings
        if plan.kept
        and not _is_reported(copies / training.name / "report.json", training.control, training.attack_images > 0)
    ]
    if plan.summary and summarized and not unreported:
        print(f"{summary} is there already; remove it to make it again")
        return
    initial = options.init if name in _FROM_A_CHECKPOINT else None
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
        reading = data if plan.summary == "tradeoff" else []
        _command(plan.summary, *runs, *reading, f"--output={summary}")
        _command("results", f"--folder={options.results}")


def _is_reported(report: Path, control: str | None, attacked: bool = False) -> bool:
    """Tells whether there is a report of this version against that control, with attacks where they are asked for."""
    try:
        content = stored.read(report)
    except (OSError, ValueError):
        return False
    others = [] if control is None else [control]
    return content["networks"][1:] == others and ("attacks" in content["claims"] or not attacked)


def _folders(plan: Plan, options: Options) -> list[Path]:
    """Returns the folders of all runs of a plan, as its summary names them."""
    folder = options.results / "runs" if plan.kept else options.runs
    seeds = [f"seed{seed}" for seed in range(plan.seeds)] if plan.seeds > 1 else ["."]
    return [folder / each.name / seed for each in plan.trainings for seed in seeds]


def _is_of(summary: Path, runs: list[Path]) -> bool:
    """Tells whether there is a summary of this version and of all these runs, not of some alone."""
    try:
        content = stored.read(summary)
    except (OSError, ValueError):
        return False
    return list(content["runs"]) == list(map(str, runs))


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
