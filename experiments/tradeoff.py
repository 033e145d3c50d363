"""What class-specific filters cost: arms of training against their controls, over seeds, effect beside accuracy.

An arm is the runs that agree in all settings but the seed. Its control is the arm trained without a gate for as long,
in the same order and from the same start; only a tightened gate, which was learned before, starts from another network
than its control, which must have been trained before too.
"""

import dataclasses
import shlex
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments import claims, cli, correlation, specificity, summarize
from experiments.claims import Network
from lsg_jax import cache, plots
from lsg_jax.analysis.comparison import Interval, compare
from lsg_jax.config import GateConfig

ARM = ("gate", "scheme", *(field.name.replace("_", "-") for field in dataclasses.fields(GateConfig)))
ACCURACY = "accuracy"


@dataclass(frozen=True)
class Options:
    """Which runs to compare, and where to write."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """The run folders, those trained with --gate=none for control among them."""
    data_dir: Path | None = None
    """The TFDS data directory to read from (default: the one they were trained from)."""
    output: Path = Path("results/tradeoff.json")
    """The file for the numbers; the picture lies beside it."""


def measure(network: Network) -> dict[str, float]:
    """Returns what is compared of a network, all of it on the test set."""
    found, between = specificity.numbers(network), correlation.inter_class(network)
    return {
        ACCURACY: found["gate"]["all filters"],
        "mutual information score": found["mutual information score"],
        **{name: between[name] for name in ("C_IC", "C_IC of absolute correlations")},
        "accuracy without own filters": found["gate"]["without own filters"],
    }


def arms(networks: list[Network]) -> dict[str, dict[int, Network]]:
    """Returns the networks by arm and seed, the control first; an arm is named by what tells it from the others.

    Raises ValueError where there is no control, or a network differs from it in more than the gate's settings.
    """
    settings = [network.run.config.settings() for network in networks]
    if not any(each["gate"] == "none" for each in settings):
        raise ValueError("none of the runs was trained with --gate=none: there is no control to compare with")
    for name in settings[0]:
        comparable = [each for each in settings if name != "init" or each["gate"] != "tightened"]
        if name not in (*ARM, "seed") and len(values := {str(each[name]) for each in comparable}) > 1:
            raise ValueError(f"the runs differ in --{name} ({', '.join(sorted(values))}), so none is the control")
    gates = {each["gate"]: each["init"] for each in settings}
    if "tightened" in gates and gates["none"] is None:
        raise ValueError("a tightened gate was trained before, and the control was not; train that with --init=RUN")
    found: dict[str, dict[int, Network]] = defaultdict(dict)
    for each, network in sorted(zip(settings, networks, strict=True), key=lambda pair: pair[0]["gate"] != "none"):
        alike = [other for other in settings if other["gate"] == each["gate"] != "none"]
        telling = [name for name in ARM if len({other[name] for other in alike}) > 1]
        arm = ", ".join([each["gate"], *(f"{name} {_text(each[name])}" for name in telling)])
        if each["seed"] in found[arm]:
            raise ValueError(f"two of the runs have the same settings ({arm}) and seed {each['seed']}; leave one out")
        found[arm][each["seed"]] = network
    for arm, seeds in found.items():
        if missing := sorted(set(seeds) - set(found["none"])):
            raise ValueError(f"{arm} has seed {missing[0]}, and the control has not; train it with --gate=none")
    return found


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def write(options: Options) -> None:
    """Writes numbers and picture."""
    if len(options.runs) < 2:
        raise ValueError(f"name a run and its control at least, got {len(options.runs)} folders")
    if options.output.is_dir() or options.output.suffix != ".json":
        raise ValueError(f"--output must be a file that ends in .json, got {options.output}")
    cli.check_writable(options.output.parent)
    networks: list[Network] = []
    for path in options.runs:
        (network,) = claims.open_networks(path, None, options.data_dir)
        done, asked = len(network.run.history), network.run.config.optimizer.epochs
        if done < asked:
            raise ValueError(f"{path} has {done} of {asked} epochs; finish it first")
        if networks and not np.array_equal(network.images, networks[0].images):
            raise ValueError(f"{path} and {options.runs[0]} were measured on different images; compare them apart")
        networks.append(network)
    measured = {
        arm: {seed: measure(network) for seed, network in seeds.items()} for arm, seeds in arms(networks).items()
    }
    compared = {arm: compare(seeds, measured["none"]) for arm, seeds in measured.items()}
    content = {
        "command": shlex.join(["python", "-m", "experiments.tradeoff", *map(str, options.runs)]),
        "versions": summarize.versions(),
        "runs": {
            str(path): summarize.command(network.run.config)
            for path, network in zip(options.runs, networks, strict=True)
        },
        "arms": {
            arm: {"seeds": sorted(measured[arm])}
            | {name: {part: each._asdict() for part, each in value._asdict().items()} for name, value in found.items()}
            for arm, found in compared.items()
        },
    }
    cache.publish(options.output, partial(Path.write_text, data=claims.to_json(content)))
    picture = options.output.with_suffix(".png")
    differences = {name: {arm: found[name].difference for arm, found in compared.items()} for name in compared["none"]}
    cli.save_figure(plots.tradeoff(differences.pop(ACCURACY), differences), picture)
    for arm, found in compared.items():
        print(f"{arm}, {len(measured[arm])} seeds")
        for name, value in found.items():
            print(f"  {name:30s}{value.mean.mean:8.4f}  difference {_range(value.difference)}")
    print(f"{options.output} and {picture} written")


def _range(value: Interval) -> str:
    return f"{value.mean:+.4f}" + ("" if np.isnan(value.low) else f" ({value.low:+.4f} to {value.high:+.4f})")


if __name__ == "__main__":
    cli.main(lambda: write(cli.parse(Options, __doc__ or "")))
