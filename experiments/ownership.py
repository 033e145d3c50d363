"""Section 4.4 over many runs: how many filters each class holds alone, and how many are shared."""

import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from experiments import claims, cli, stored, summarize
from lsg_jax import files, load_run, plots
from lsg_jax.analysis import ownership

THRESHOLDS = (0.3, 0.5, 0.7)


@dataclass(frozen=True)
class Options:
    """Which runs to count in, and where to write."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """The run folders, of one data set and model, trained with a learned gate."""
    output: Path = Path("results/ownership-runs.json")
    """The file for the numbers; the picture lies beside it."""


def count(options: Options) -> None:
    """Writes the counts and the picture."""
    cli.check_json(options.output)
    runs = [load_run(path) for path in options.runs]
    if len(set(map(Path.resolve, options.runs))) < max(2, len(runs)):
        raise ValueError(f"name two run folders or more, none twice; got {' '.join(map(str, options.runs))}")
    for path, run in zip(options.runs, runs, strict=True):
        cli.check_finished(path, run)
        if run.config.gate != "learned":
            raise ValueError(f"{path} was trained with --gate={run.config.gate}, which learns no gate to count in")
    different = {(run.config.model, run.config.data.dataset) for run in runs}
    if len(different) > 1:
        raise ValueError(f"the runs differ in model or data set: {sorted(different)}; name like ones")
    ((model, dataset),) = different
    targets, filters = sorted({f"{run.config.lsg.sparsity_target:g}" for run in runs}), int(runs[0].gate.shape[1])
    unusual = "" if targets == [f"{filters:g}"] else f", s = {', '.join(targets)}"
    starts = sorted({run.config.init.name for run in runs if run.config.init is not None})
    unusual += f", from {', '.join(starts)}" if starts else ""
    settings = [run.config.settings() for run in runs]
    differing = [name for name in settings[0] if name != "seed" and len({str(each[name]) for each in settings}) > 1]
    unusual += f", which differ in {', '.join(differing)}" if differing else ""
    names = runs[0].class_names
    found = ownership.ownership_statistics(np.stack([run.gate for run in runs]), THRESHOLDS)
    numbers = {
        "version": stored.VERSIONS["ownership"],
        "command": shlex.join(["python", "-m", "experiments.ownership", *map(str, options.runs)]),
        "runs": {
            str(path): {
                "command": summarize.command(run.config),
                "environment": run.environment,
                "gate": np.asarray(run.gate),
            }
            for path, run in zip(options.runs, runs, strict=True)
        },
        "measured": f"{len(runs)} learned gates of {model} on {dataset}{unusual}",
        "filters": filters,
        "thresholds": {
            str(threshold): {
                "a class alone": _spread(found.monopolised_mean[index].mean(), found.monopolised_std[index].mean()),
                "shared": _spread(found.shared_mean[index], found.shared_std[index]),
                "by class": {
                    name: _spread(found.monopolised_mean[index, label], found.monopolised_std[index, label])
                    for label, name in enumerate(names)
                },
            }
            for index, threshold in enumerate(THRESHOLDS)
        },
    }
    content = claims.to_json(numbers)
    files.publish_text(options.output, content)
    cli.save_figure(plots.ownership_bars(found, names), options.output.with_suffix(".png"))
    print(f"{options.output} and {options.output.with_suffix('.png')} written")


def _spread(mean: float, std: float) -> dict[str, float]:
    return {"mean": float(mean), "std": float(std)}


if __name__ == "__main__":
    cli.main(lambda: count(cli.parse(Options, __doc__ or "")))
