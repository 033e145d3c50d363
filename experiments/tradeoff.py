"""Every claim over seeds: arms of training against their controls, and what class-specific filters cost in accuracy.

An arm is the runs that agree in all settings but the seed. Its control is the arm trained without a gate for as long,
in the same order and from the same start; only a tightened gate, which was learned before, starts from another network
than its control, which must have been trained before too.
"""

import dataclasses
import json
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from experiments import alike, attacks, claims, cli, convergence, report, stored, summarize, verdicts
from experiments.network import Network, open_networks
from experiments.report import MEASURES, Measure, with_attacks
from experiments.verdicts import Row
from lsg_jax import checks, files, plots
from lsg_jax.analysis.comparison import Compared, Interval, compare
from lsg_jax.config import Config, GateConfig, Unset
from lsg_jax.run import environment

_FOLLOWING = tuple(field.name for field in dataclasses.fields(GateConfig) if field.default is None)
_COSTS = ("silence-weight", "complement-weight")


@dataclass(frozen=True)
class Options:
    """Which runs to compare, and where to write."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """The run folders, those trained with --gate=none for control among them."""
    data_dir: Unset[Path] = None
    """The TFDS data directory to read from (default: the one they were trained from)."""
    output: Path = Path("results/tradeoff-arms.json")
    """The file for the numbers; the picture lies beside it. The page of results shows those named tradeoff-*.json."""
    attack_images: int = 0
    """How many test images that it classifies correctly each network is attacked on; 0 leaves the attacks out."""
    attack_budget: attacks.Budget = "short"
    """short, which takes minutes a network on a CPU, or cited, that of the papers they are from: hours."""

    def __post_init__(self) -> None:
        checks.whole("--attack-images", self.attack_images, 0)


def measure(network: Network, measures: Sequence[Measure] = MEASURES) -> tuple[list[Row], dict[str, float]]:
    """Returns the claims that a network can tell of, and what it says of each, all of it on the test set."""
    measured = report.content_of([network], [each([network]) for each in measures])
    rows = [row for row in verdicts.rows(measured) if row.claim != verdicts.PAIRED]
    return rows, {row.claim: verdicts.figure(row.place, measured, network.name) for row in rows}


def arms(networks: list[Network]) -> dict[str, dict[int, Network]]:
    """Returns the networks by arm and seed, the control first; an arm is named by its settings that are no defaults.

    Raises ValueError where there is no control, or a network differs from it in more than the gate's settings.
    """
    trained = [alike.settings(network.run) for network in networks]
    if not any(each["gate"] == "none" for each in trained):
        raise ValueError("none of the runs was trained with --gate=none: there is no control to compare with")
    gates = {each["gate"]: each["init"] for each in trained}
    if "tightened" in gates and gates["none"] is None:
        raise ValueError("a tightened gate was trained before, and the control was not; train that with --init=RUN")
    if differing := alike.differences(trained, apart=("seed",)):
        raise ValueError(f"the runs differ in {alike.told(differing)}, so none is the control")
    settings, usual = map(_settings, networks), Config().settings()
    found: dict[str, dict[int, Network]] = defaultdict(dict)
    control_first = sorted(
        zip(settings, networks, strict=True), key=lambda pair: (pair[0]["gate"] != "none", pair[0]["seed"])
    )
    for each, network in control_first:
        unusual = [name for name in alike.ARM[1:] if each["gate"] != "none" and each[name] != usual[name]]
        arm = ", ".join([each["gate"], *(f"{name} {_text(each[name])}" for name in unusual)])
        if each["seed"] in found[arm]:
            raise ValueError(f"two of the runs have the same settings ({arm}) and seed {each['seed']}; leave one out")
        found[arm][each["seed"]] = network
    for arm, seeds in found.items():
        if missing := sorted(set(seeds) - set(found["none"])):
            raise ValueError(f"{arm} has seed {missing[0]}, and the control has not; train it with --gate=none")
    return found


def curves(arms: dict[str, dict[int, Network]]) -> list[list[str]]:
    """Returns the arms that differ in one number alone, in its order: one list for each curve that they lie on.

    Weights of both costs in one proportion lie on a curve too, which begins without either, where there are several of
    them or no other curve leads to the one.
    """
    settings = {arm: _settings(next(iter(seeds.values()))) for arm, seeds in arms.items()}
    families: dict[tuple[Any, ...], dict[float, str]] = defaultdict(dict)
    proportional: dict[tuple[Any, ...], dict[float, str]] = defaultdict(dict)
    for arm, each in settings.items():
        trained_with = next(iter(arms[arm].values())).run.config.settings()
        for name in alike.ARM:
            if isinstance(value := trained_with[name], float | int):
                families[(name, *_but_for(each, name))][value] = arm
        if all(costs := [each[cost] for cost in _COSTS]):
            proportional[(round(costs[0] / costs[1], 9), *_but_for(each, *_COSTS))][costs[0]] = arm
    free = {_but_for(each, *_COSTS): {0.0: arm} for arm, each in settings.items() if not any(each[c] for c in _COSTS)}
    joined = {arm for family in families.values() if len(family) > 1 for arm in family.values()}
    for key, family in proportional.items():
        if len(family) > 1 or not joined.intersection(family.values()):
            families[key] = free.get(key[1:], {}) | family
    return [[family[value] for value in sorted(family)] for family in families.values() if len(family) > 1]


def _but_for(settings: dict[str, Any], *names: str) -> tuple[Any, ...]:
    """Returns the arm's settings but for those of these names."""
    return tuple(settings[name] for name in alike.ARM if name not in names)


def twins(arms: dict[str, dict[int, Network]]) -> list[tuple[str, str]]:
    """Returns the pairs of arms of the paper's method that differ in the scheme alone, the alternating one first.

    They share a seed, learned their gate, paid no other cost and were trained from scratch: footnote 1 is of these.
    """
    settings = {arm: _settings(next(iter(seeds.values()))) for arm, seeds in arms.items()}
    paper = {"gate": "learned", "init": None, "silence-weight": 0, "complement-weight": 0}
    return [
        (first, second)
        for first, second in permutations(arms, 2)
        if settings[first] == settings[first] | paper | {"scheme": "alternate"}
        and settings[second] | {"scheme": "alternate", "seed": settings[first]["seed"]} == settings[first]
        and set(arms[first]) & set(arms[second])
    ]


def _settings(network: Network) -> dict[str, Any]:
    """Returns a network's settings; one that follows from others, the data and the model is None where it does."""
    config = network.run.config
    no_values: dict[str, Any] = dict.fromkeys(_FOLLOWING)
    unset = dataclasses.replace(config, lsg=dataclasses.replace(config.lsg, **no_values))
    followed = unset.resolve(len(network.dataset.train.labels), *network.run.gate.shape).settings()
    settings = config.settings()
    following = (name.replace("_", "-") for name in _FOLLOWING)
    return settings | {name: None for name in following if settings[name] == followed[name]}


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def write(options: Options) -> None:
    """Writes numbers and picture."""
    if len(options.runs) < 2:
        raise ValueError(f"name a run and its control at least, got {len(options.runs)} folders")
    cli.check_json(options.output)
    networks = _open(options.runs, options.data_dir)
    found = arms(networks)
    _check_images(options.runs, networks)
    rows, untold, measured = _measure(found, with_attacks(options.attack_images, options.attack_budget))
    compared = {arm: compare(seeds, measured["none"]) for arm, seeds in measured.items()}
    content = {
        "version": stored.VERSIONS["tradeoff"],
        "command": _command(options),
        "measured": _measured_on(networks[0]),
        "environment": environment(),
        "runs": {
            str(path): {
                "command": summarize.command(network.run.config),
                "environment": network.run.environment,
                "history": network.run.history,
            }
            for path, network in zip(options.runs, networks, strict=True)
        },
        "claims": {row.claim: row.paper for row in rows},
        "alone": [row.claim for row in rows if row.alone],
        "untold": untold,
        "effects": {row.effect: row.claim for row in rows if row.effect is not None},
        "arms": {
            arm: {row.claim: _describe(row, seeds, measured["none"], compared[arm][row.claim]) for row in rows}
            for arm, seeds in measured.items()
        },
        "schemes": [
            {"alternating": alternating, "joint": joint} | convergence.compare_schemes(found[alternating], found[joint])
            for alternating, joint in twins(found)
        ],
        "curves": curves(found),
    }
    text = claims.to_json(content)
    files.publish_text(options.output, text)
    drawn = options.output.with_suffix(".png")
    cli.save_figure(picture(json.loads(text)), drawn)
    for arm, differs in compared.items():
        print(f"{arm}, {len(measured[arm])} seeds")
        for claim, value in differs.items():
            difference = f"{value.difference.mean:+.4f}{claims.ends(value.difference._asdict())}"
            print(f"  {claim:68s}{value.mean.mean:8.4f}  difference {difference}")
    print(f"{options.output} and {drawn} written")


def _command(options: Options) -> str:
    attacking = [f"--attack-images={options.attack_images}", f"--attack-budget={options.attack_budget}"]
    arguments = [*map(str, options.runs), *(attacking if options.attack_images else [])]
    return shlex.join(["python", "-m", "experiments.tradeoff", *arguments])


def picture(content: dict[str, Any]) -> Figure:
    """Returns the picture of what ``write`` wrote: each effect of each arm over the accuracy that it costs."""
    differences = {
        effect: {arm: _interval(found[claim]["difference"]) for arm, found in content["arms"].items()}
        for effect, claim in content["effects"].items()
    }
    return plots.tradeoff(differences.pop("accuracy"), differences, content["curves"])


def _interval(ends: dict[str, float | None]) -> Interval:
    return Interval(**{name: np.nan if value is None else value for name, value in ends.items()})


def _open(paths: tuple[Path, ...], data_dir: Path | None) -> list[Network]:
    networks: list[Network] = []
    for path in paths:
        (network,) = open_networks(path, None, data_dir)
        cli.check_finished(path, network.run)
        networks.append(network)
    return networks


def _check_images(paths: tuple[Path, ...], networks: list[Network]) -> None:
    for path, network in zip(paths, networks, strict=True):
        if not np.array_equal(network.images, networks[0].images):
            raise ValueError(f"{path} and {paths[0]} were measured on different images; compare them apart")


def _measure(
    arms: dict[str, dict[int, Network]], measures: Sequence[Measure]
) -> tuple[list[Row], list[str], dict[str, dict[int, dict[str, float]]]]:
    """Returns the claims that every network can tell of, those that not all can, and what each says, by arm and seed.

    One that has no images of some kind cannot tell of a claim about them.
    """
    rows: list[Row] = []
    measured: dict[str, dict[int, dict[str, float]]] = {}
    for arm, seeds in arms.items():
        measured[arm] = {}
        for seed, network in seeds.items():
            print(f"{arm}, seed {seed}", flush=True)
            rows, measured[arm][seed] = measure(network, measures)
    everything = [values for seeds in measured.values() for values in seeds.values()]
    untold = [row.claim for row in rows if not all(np.isfinite(values[row.claim]) for values in everything)]
    for values in everything:
        for claim in untold:
            del values[claim]
    return [row for row in rows if row.claim not in untold], untold, measured


def _measured_on(network: Network) -> str:
    """Returns what all the runs have in common: the data set, the images measured, the epochs, and the start."""
    config, count = network.run.config, len(network.labels)
    held_out = config.data.holdout > 0
    images = f"{count} training images held out" if held_out else f"the {count} test images"
    start = "from scratch" if config.init is None else f"from {config.init.name}"
    few = "" if config.data.train_examples is None else f" of {config.data.train_examples} images"
    return f"{config.model} on {config.data.dataset}, {config.optimizer.epochs} epochs{few} {start}; on {images}"


def _describe(
    row: Row, seeds: dict[int, dict[str, float]], controls: dict[int, dict[str, float]], compared: Compared
) -> dict[str, Any]:
    ours, theirs = ({seed: numbers[row.claim] for seed, numbers in each.items()} for each in (seeds, controls))
    return {
        "by seed": ours,
        "mean": compared.mean._asdict(),
        "difference": compared.difference._asdict(),
        "holds": verdicts.over_seeds(row, ours, theirs),
    }


if __name__ == "__main__":
    cli.main(lambda: write(cli.parse(Options, __doc__ or "")))
