"""Writes results/README.md from the runs in results/runs: each claim, the paper's figure, ours, and the control's."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import attacks, claims, cli, paper, summarize
from lsg_jax import cache
from lsg_jax.config import Config

_HEAD = """# Results

Written by `python -m experiments.results` from the files beside it. Each run is a folder that `lsg_jax.load_run` opens;
its `report.html` has the pictures. A claim is a difference between a network trained with a gate and its control, a
plain network of the same budget, seed and data order. CIFAR-10 is a copy that had once been re-encoded as JPEG:
figures compare with each other, not with those of the original images. A run and its control are one seed each, so
that a small difference between them may be chance; where there are confidence intervals, a claim is judged only if
they do not overlap. A ratio to a control's figure tells nothing where that is not above 0. Of arms with several seeds
the tables give mean, standard deviation, and in brackets Student's 95 % interval of the difference from the control of
the same seed; a claim holds or fails where it does so at both ends of it, and else they cannot tell. (Of a claim about
the network alone, at both ends of the interval of its own mean.)
"""
_UNEXPLAINED = "not explained yet"
_VERDICTS = {True: "yes", False: "no", None: "cannot tell"}


VERSION = 2  # of the files that the page is made of
DENSITY, LEAST = 0.12, 0.1  # of a sparse gate, and of any with ten classes


class Row(NamedTuple):
    """One claim.

    Attributes:
      claim: in words.
      paper: its figures.
      place: where ours lie in a report.
      holds: whether it does, from our figure and the control's; None where they cannot tell.
      interval: the names of the ends of the figure's confidence interval, which lie beside it.
      filters: the name of how many filters were removed for it, which lies beside it.
      effect: what short tables and pictures of arms, which show not every claim, call the figure.
      paired: whether the control's figure depends on which network it is the control of.
      alone: whether ours is judged without the control's.
    """

    claim: str
    paper: str
    place: tuple[str, ...]
    holds: Callable[[float, float], bool | None]
    interval: tuple[str, str] | None = None
    filters: str | None = None
    effect: str | None = None
    paired: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Options:
    """Where the results lie."""

    folder: Path = Path("results")
    """The folder that holds runs/ and gets README.md."""
    readme: tuple[str, ...] = ()
    """What has a table in ./README.md too, between marks of that name: a run with a report (cifar10-learned), a
    comparison (tradeoff-finetune, or in short effects-finetune), counts (ownership-cifar10) or the numbers of
    figures/CLAIM.json (convergence)."""


def rows(report: dict[str, Any]) -> list[Row]:
    """Returns the claims that a report of a gated network against a plain one can tell of."""
    std, lsg = paper.TABLE1["STD"], paper.TABLE1["LSG"]
    first = report["networks"][0]
    c_ic = paper.C_IC.get(report["trained"][first]["model"], paper.C_IC["resnet20"])
    phi = f"{lsg['Phi']} against {std['Phi']}"
    masked = [
        row
        for mask in report["claims"]["masking"]["numbers"][first]
        for row in (
            Row(
                f"{mask}: more of its recall is lost",
                "all of it, against some",
                ("masking", mask, "recall lost by these classes"),
                lambda ours, control: ours > control,
                filters="filters removed",
            ),
            Row(
                f"{mask}: no other class loses 0.02 of its recall (the one that loses most)",
                "none",
                ("masking", mask, "most recall lost by another"),
                lambda ours, control: ours < 0.02,
                filters="filters removed",
                alone=True,
            ),
        )
    ]
    attacked = [
        Row(
            f"{name} attack: success rate is lower",
            f"{figures['LSG']:.2f} against {figures['STD']:.2f}",
            ("attacks", name, "success rate"),
            lambda ours, control: ours < control,
            attacks.INTERVAL,
        )
        for name, figures in paper.ATTACKS.items()
    ]
    return [
        Row(
            "accuracy within half a point of the plain network's",
            f"{lsg['accuracy']} against {std['accuracy']}",
            ("table1", "accuracy"),
            lambda ours, control: ours >= control - 0.005,
            effect="accuracy",
        ),
        Row(
            f"the gate is sparse (L1 norm / C K at most {DENSITY})",
            f"{lsg['L1 norm']}",
            ("table1", "L1 norm"),
            lambda ours, control: ours <= DENSITY,
            alone=True,
        ),
        Row(
            "the gate is sparser than that solved for the plain network's Phi (at most 0.37 of its density)",
            f"{lsg['L1 norm']} against {std['L1 norm']}",
            ("table1", "L1 norm"),
            lambda ours, control: ours <= 0.37 * control if 0.37 * control >= LEAST else None,
        ),
        Row(
            "Phi is lower (converged, a = 1 on the density)",
            phi,
            ("table1", "Phi", "Phi"),
            lambda ours, control: ours < control,
        ),
        Row(
            "Phi is lower after the training's budget of updates of G",
            phi,
            ("table1", "Phi, training's budget", "Phi"),
            lambda ours, control: ours < control,
            paired=True,
        ),
        *masked,
        Row(
            "true positives resemble their gate row more (share on the diagonal)",
            "significantly",
            ("similarity", "true positives", "share on the diagonal"),
            lambda ours, control: ours > control,
        ),
        Row(
            "true positives resemble it more than false negatives do (difference of the shares)",
            "significantly",
            ("similarity", "share on the diagonal, true positives less false negatives"),
            lambda ours, control: ours > control,
        ),
        Row(
            "activation maps are more precise (insertion area, relative; more is better)",
            "shown by examples",
            ("localization", "insertion area, relative"),
            lambda ours, control: ours > control,
        ),
        Row(
            "so they are by deletion (area, relative; less is better)",
            "shown by examples",
            ("localization", "deletion area, relative"),
            lambda ours, control: ours < control,
        ),
        Row(
            "and more concentrated (share of the image with 90 % of the map)",
            "shown by examples",
            ("localization", "area of 90 % of the map"),
            lambda ours, control: ours < control,
        ),
        Row(
            "C_IC is at most 0.62 of the plain network's",
            f"{c_ic['LSG']} (fixed gate) against {c_ic['STD']}",
            ("correlation", "C_IC"),
            lambda ours, control: ours <= 0.62 * control if control > 0 else None,
            effect="C_IC",
        ),
        Row(
            "beyond the paper: so is that of different filters",
            "",
            ("correlation", "C_IC of different filters"),
            lambda ours, control: ours <= 0.62 * control if control > 0 else None,
        ),
        Row(
            "beyond the paper: so is that of absolute correlations",
            "",
            ("correlation", "C_IC of absolute correlations"),
            lambda ours, control: ours <= 0.62 * control,
            effect="C_IC of absolute correlations",
        ),
        *(
            Row(
                f"fewer correlated pairs of filters (share above {threshold})",
                "fewer",
                ("correlation", f"share of pairs above {threshold}"),
                lambda ours, control: ours < control,
            )
            for threshold in (0.1, 0.3)
        ),
        Row(
            "cluster centres look more like the gate (cosine)",
            "almost the same",
            ("clustering", "cosine to the class's gate row"),
            lambda ours, control: ours > control,
        ),
        Row(
            "beyond the paper: clusters agree better with the classes (adjusted Rand index)",
            "",
            ("clustering", "adjusted Rand index"),
            lambda ours, control: ours > control,
        ),
        *(attacked if "attacks" in report["claims"] else []),
        Row(
            "beyond the paper: mutual information score is at least 1.7 times the plain network's",
            "; ".join(
                f"{score['LSG']} against {score['STD']} ({name})" for name, score in paper.MUTUAL_INFORMATION.items()
            ),
            ("specificity", "mutual information score"),
            lambda ours, control: ours >= 1.7 * control,
            effect="mutual information score",
        ),
        Row(
            "beyond the paper: accuracy without a class's own filters is at most 0.05",
            "",
            ("specificity", "gate", "without own filters"),
            lambda ours, control: ours <= 0.05,
            filters="own filters of an image",
            alone=True,
            effect="accuracy without own filters",
        ),
        Row(
            "beyond the paper: so it is with the tightened gate",
            "",
            ("specificity", "tightened gate", "without own filters"),
            lambda ours, control: ours <= 0.05,
            filters="own filters of an image",
            alone=True,
        ),
    ]


def page(folder: Path) -> str:
    """Returns the page for the runs and comparisons in ``folder``."""
    paths = sorted(path.parent for path in (folder / "runs").glob("*/config.json"))
    paths = [path for path in paths if (path / "metrics.jsonl").read_text()]  # an imported network has no training
    comparisons, counts = (sorted(folder.glob(f"{kind}-*.json")) for kind in ("tradeoff", "ownership"))
    if not paths and not comparisons and not counts:
        raise ValueError(f"{folder / 'runs'} holds no runs; copy some with experiments.publish")
    heads = ("run", "data", "model", "gate", "settings", "epochs", "seed", *summarize.MEASURES.values())
    lines = [_HEAD, "## Runs\n", "| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|", *map(_run_line, paths)]
    failed: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        if not (path / "report.json").is_file():
            continue
        try:
            report = read_report(path / "report.json")
        except ValueError as error:  # while a plan is at it, the next report may be the one that mends it
            lines += _of_another_version(path.name, error, folder)
            continue
        if _has_control(report):
            ours, control = report["networks"]
            lines += [
                f"\n## {ours} against {control}\n",
                f"One seed, `python -m experiments.report` ([all of it](runs/{path.name}/report.html)).\n",
                claims_table(report),
            ]
            for row in rows(report):
                if _verdict(row, report) == "no":
                    failed[row.claim].append(ours)
    if failed and (notes := folder / "notes.json").is_file():
        explained = json.loads(notes.read_text())
        lines += ["\n## Where a claim does not hold, and what was tried\n"]
        lines += [
            f"- **{claim}** ({', '.join(runs)}): {explained.get(claim, _UNEXPLAINED)}" for claim, runs in failed.items()
        ]
    for section, files in ((_arms_section, comparisons), (_ownership_section, counts)):
        for file in files:
            try:
                lines += section(file)
            except ValueError as error:
                lines += _of_another_version(file.stem, error, folder)
    if (claim := folder / "figures" / "convergence.json").is_file():
        content = json.loads(claim.read_text())
        lines += [
            f"\n## {content['title']}\n",
            f"{content['caption']}\n",
            "![Curves of training](figures/convergence.png)\n",
            numbers_table(content["numbers"]),
        ]
    return "\n".join(lines) + "\n"


def _of_another_version(title: str, error: ValueError, folder: Path) -> list[str]:
    return [f"\n## {title}\n", f"{str(error).removeprefix(f'{folder}/')}."]


def _arms_section(file: Path) -> list[str]:
    content = read_tradeoff(file)
    return [
        f"\n## Arms and their control: {file.stem.removeprefix('tradeoff-')}\n",
        f"{content['measured']}. By `{content['command']}`. [All numbers]({file.name}).\n",
        f"![Effect and accuracy of each arm, less the control's]({file.stem}.png)\n",
        arms_table(content),
    ]


def _ownership_section(file: Path) -> list[str]:
    content = read_ownership(file)
    return [
        f"\n## Filters that classes hold alone (section 4.4): {content['measured']}\n",
        f"By `{content['command']}`. The paper's, over 20 models on CIFAR-10: 10 % of the filters a class alone, "
        "and 10 % shared.\n",
        f"![Filters of each class alone, and shared]({file.stem}.png)\n",
        ownership_table(content),
    ]


def numbers_table(numbers: dict[str, Any]) -> str:
    """Returns the table of the numbers that a claim's command wrote: a row a number, and each network's in a column."""
    columns = {name: claims.flat(found) for name, found in numbers.items()}
    lines = ["| | " + " | ".join(columns) + " |", "| --- " * (1 + len(columns)) + "|"]
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        values = [column.get(name, "") for column in columns.values()]
        cells = [f"{value:.4f}" if isinstance(value, float) else str(value) for value in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ownership_table(content: dict[str, Any]) -> str:
    """Returns the table of what experiments.ownership wrote: mean and standard deviation, in percent of the filters."""
    heads = ("threshold", "a class alone, % of the filters", "that with fewest", "that with most", "shared, %")
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for threshold, found in content["thresholds"].items():
        by_size = sorted(found["by class"].items(), key=lambda item: item[1]["mean"])
        cells = [_percent(found["a class alone"], content)]
        cells += [f"{name}: {_percent(spread, content)}" for name, spread in (by_size[0], by_size[-1])]
        cells.append(_percent(found["shared"], content))
        lines.append(f"| {threshold} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(spread: dict[str, float], content: dict[str, Any]) -> str:
    return f"{100 * spread['mean'] / content['filters']:.1f} ± {100 * spread['std'] / content['filters']:.1f}"


def read_tradeoff(file: Path) -> dict[str, Any]:
    """Returns what experiments.tradeoff wrote. Raises ValueError where it was another version's."""
    return _current(file)


def read_ownership(file: Path) -> dict[str, Any]:
    """Returns what experiments.ownership wrote. Raises ValueError where it was another version's."""
    return _current(file)


def read_report(file: Path) -> dict[str, Any]:
    """Returns what experiments.report wrote. Raises ValueError where it was another version's."""
    return _current(file)


def _current(file: Path) -> dict[str, Any]:
    """Returns what a file holds. Raises ValueError where that is not what this version writes."""
    try:
        content = json.loads(file.read_text())
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ValueError(f"{file} was not written by this version; make it again")
    return content


def arms_table(content: dict[str, Any]) -> str:
    """Returns the table of what experiments.tradeoff wrote: a row a claim, and the control and each arm beside it."""
    arms = content["arms"]
    lines = ["| claim | the paper's | " + " | ".join(arms) + " |", "| --- " * (2 + len(arms)) + "|"]
    for claim, stated in content["claims"].items():
        cells = [_arm_cell(found[claim], judged=arm != "none") for arm, found in arms.items()]
        lines.append("| " + " | ".join((claim, stated, *cells)) + " |")
    return "\n".join(lines)


def effects_table(content: dict[str, Any]) -> str:
    """Returns the same in short: a row an arm, and its figure and that less the control's for each effect.

    Where there are several seeds, the difference is Student's 95 % interval.
    """
    effects = content["effects"]
    lines = ["| arm | " + " | ".join(effects) + " |", "| --- " * (1 + len(effects)) + "|"]
    for arm, found in content["arms"].items():
        cells = []
        for claim in effects.values():
            difference = "" if arm == "none" else f" ({_range(found[claim]['difference'])})"
            cells.append(f"{found[claim]['mean']['mean']:.4f}{difference}")
        lines.append("| " + " | ".join((arm, *cells)) + " |")
    return "\n".join(lines)


def _range(difference: dict[str, float | None]) -> str:
    mean, low, high = (difference[end] for end in ("mean", "low", "high"))
    return f"{mean:+.4f}" if low is None else f"{low:+.4f} to {high:+.4f}"


def _arm_cell(found: dict[str, Any], judged: bool) -> str:
    values = list(found["by seed"].values())
    several = len(values) > 1
    spread = f" ± {np.std(values, ddof=1):.4f}" if several else ""
    verdict = f", {_VERDICTS[found['holds']]}" if judged else ""
    interval = f" ({_range(found['difference'])})" if judged and several else ""
    return f"{np.mean(values):.4f}{spread}{verdict}{interval}"


def _run_line(path: Path) -> str:
    config = json.loads((path / "config.json").read_text())
    last = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    cells = [f"[{path.name}](runs/{path.name})", config["data"]["dataset"], config["model"], config["gate"]]
    cells += ["; ".join(_settings(Config.from_json(config)))]
    cells += [str(last["epoch"] + 1), str(config["seed"])]
    cells += [f"{last[name]:.4f}" for name in summarize.MEASURES]
    return "| " + " | ".join(cells) + " |"


def _settings(config: Config) -> Iterator[str]:
    """Yields what tells runs of a data set, model and gate apart, but for the number of epochs and the seed."""
    if config.gate != "none":
        yield f"lambda {config.lsg.gate_loss_weight:g}"
        if config.gate == "learned" and config.lsg.sparsity_weight == 0:
            yield "a 0"
    if config.scheme == "joint":
        yield "joint"
    for name in ("silence_weight", "complement_weight"):
        if weight := getattr(config.lsg, name):
            yield f"{name.replace('_', ' ')} {weight:g}"
    if config.init is not None:
        yield f"from {config.init.name}"


def claims_table(report: dict[str, Any]) -> str:
    """Returns the table of the claims that a report of a gated network against a plain one can tell of."""
    lines = ["| claim | the paper's | ours | control's | holds |", "| --- " * 5 + "|"]
    for row in rows(report):
        found = _found(row, report)
        values = [numbers[row.place[-1]] for numbers in found]
        cells = ["" if value is None else f"{value:.4f}" for value in values]
        if row.interval is not None:
            ends = [[numbers[end] for end in row.interval] for numbers in found]
            cells = [f"{cell} ({low:.4f} to {high:.4f})" for cell, (low, high) in zip(cells, ends, strict=True)]
        if row.filters is not None:
            counts = [numbers[row.filters] for numbers in found]
            cells = [f"{cell} ({count:.3g} filters)" for cell, count in zip(cells, counts, strict=True)]
        lines.append(f"| {row.claim} | {row.paper} | {cells[0]} | {cells[1]} | {_verdict(row, report)} |")
    return "\n".join(lines)


def _has_control(report: dict[str, Any]) -> bool:
    """Tells whether a report is of a network with a gate against one without."""
    return [report["trained"][name]["gate"] == "none" for name in report["networks"]] == [False, True]


def _found(row: Row, report: dict[str, Any]) -> list[dict[str, Any]]:
    return [beside(row.place, report["claims"], network) for network in report["networks"]]


def _verdict(row: Row, report: dict[str, Any]) -> str:
    """Returns whether a claim holds, in words."""
    found = _found(row, report)
    values = [numbers[row.place[-1]] for numbers in found]
    if None in values:
        return "no images to tell by"
    if row.interval is not None:
        low, high = ([numbers[end] for numbers in found] for end in row.interval)
        if max(low) <= min(high):
            return "intervals overlap"
    return _VERDICTS[row.holds(*values)]


def beside(place: tuple[str, ...], claims: dict[str, Any], network: str) -> dict[str, Any]:
    """Returns the numbers among which the last name of ``place`` is."""
    claim, *inner = place[:-1]
    numbers: dict[str, Any] = claims[claim]["numbers"][network]
    for name in inner:
        numbers = numbers[name]
    return numbers


def readme_table(folder: Path, name: str) -> str:
    """Returns the README's table ``name``: that of a run with a report, a comparison or a claim. Raises ValueError."""
    if (claim := folder / "figures" / f"{name}.json").is_file():
        return numbers_table(json.loads(claim.read_text())["numbers"])
    if name.startswith("ownership-") and (file := folder / f"{name}.json").is_file():
        return ownership_table(read_ownership(file))
    for kind, table in (("tradeoff-", arms_table), ("effects-", effects_table)):
        if name.startswith(kind) and (file := folder / f"tradeoff-{name.removeprefix(kind)}.json").is_file():
            return table(read_tradeoff(file))
        if name.startswith(kind):
            raise ValueError(f"there is no comparison {name}; make one with experiments.tradeoff")
    run = folder / "runs" / name
    if (run / "report.json").is_file() and _has_control(report := read_report(run / "report.json")):
        return claims_table(report)
    raise ValueError(f"{name} has no report against a control; make one with experiments.report")


def write(options: Options) -> None:
    """Writes the page and, where asked, the README's tables."""
    content = page(options.folder)
    shown = Path("README.md").read_text() if options.readme else ""
    for name in options.readme:
        shown = summarize.insert(shown, name, readme_table(options.folder, name))
    if options.readme:
        cache.publish(Path("README.md"), lambda file: file.write_text(shown))
    cache.publish(options.folder / "README.md", lambda file: file.write_text(content))
    print(options.folder / "README.md")


if __name__ == "__main__":
    cli.main(lambda: write(cli.parse(Options, __doc__ or "")))
