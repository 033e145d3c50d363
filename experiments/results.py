"""Writes results/README.md from the runs in results/runs: each claim, the paper's figure, ours, and the control's."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments import cifar10, claims, cli, digits, summarize, verdicts
from lsg_jax import cache
from lsg_jax.config import Config

_HEAD = """# Results

Written by `python -m experiments.results` from the files beside it. Each run is a folder that `lsg_jax.load_run` opens;
its `report.html` has the pictures. A claim is a difference between a network trained with a gate and its control, a
plain network of the same budget, seed and data order. CIFAR-10 is a copy that had once been re-encoded as JPEG:
figures compare with each other, not with those of the original images. A run and its control are one seed each, so
that a small difference between them may be chance. Accuracy and the attacks' success are judged by the 95 %
interval, in brackets, of the difference over the test images, which are the same for both: a claim holds or fails where
it does so at both ends, and else they cannot tell. A ratio to a control's figure tells nothing where that is not above
0. Half a point of accuracy, a density of 0.12, 1.7 times the mutual information score and an accuracy of 0.05 without
own filters are this project's aims, some stricter than the paper's figures; the other thresholds are the paper's own
figures or ratios. Of arms with several seeds the tables give mean, standard deviation, and in brackets Student's 95 %
interval of the difference from the control of the same seed; a claim is judged likewise, by the interval of what it
compares (for a ratio, of ours less the ratio times the control's). Of arms with one seed they give the difference
alone."""
_ONE_SEED = "One seed each: where there is no interval, a difference in the last decimals is a yes or a no too."
_UNEXPLAINED = "not explained yet"
VERSIONS = {"report": 4, "tradeoff": 3, "ownership": 3}  # of the files that the page is made of, by what wrote them


@dataclass(frozen=True)
class Options:
    """Where the results lie."""

    folder: Path = Path("results")
    """The folder that holds runs/ and gets README.md."""
    readme: tuple[str, ...] = ()
    """What has a table in ./README.md too, between marks of that name: a run with a report (cifar10-learned), a
    comparison (tradeoff-finetune, or in short effects-finetune), counts (ownership-cifar10) or the numbers of
    figures/CLAIM.json (convergence)."""


def page(folder: Path) -> str:
    """Returns the page for the runs and comparisons in ``folder``."""
    paths = sorted(path.parent for path in (folder / "runs").glob("*/config.json"))
    paths = [path for path in paths if (path / "metrics.jsonl").read_text()]  # an imported network has no training
    comparisons, counts = (sorted(folder.glob(f"{kind}-*.json")) for kind in ("tradeoff", "ownership"))
    if not paths and not comparisons and not counts:
        raise ValueError(f"{folder / 'runs'} holds no runs; copy some with experiments.publish")
    judged: dict[str, dict[str, str]] = {}
    several, sections = _several_seeds(comparisons), []
    for path in (path for path in paths if (path / "report.json").is_file()):
        try:
            report = read(path / "report.json")
        except ValueError as error:  # while a plan is at it, the next report may be the one that mends it
            sections += _of_another_version(path.name, error, folder)
            continue
        if verdicts.has_control(report):
            judged[path.name] = {row.claim: verdicts.verdict(row, report) for row in verdicts.rows(report)}
            sections += _claims_section(path.name, report)
    findings = _findings(folder, counts)
    lines = [
        _HEAD,
        *_overview("At a glance", _ONE_SEED, judged),
        *_overview("At a glance, several seeds", "Judged by intervals over the seeds.", several),
        *_findings_section(findings),
    ]
    heads = ("run", "data", "model", "gate", "settings", "epochs", "seed", *summarize.MEASURES.values())
    lines += ["\n## Runs\n", "| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|", *map(_run_line, paths)]
    lines += [*sections, *_failures(folder, judged | several, findings)]
    for section, files in ((_arms_section, comparisons), (_ownership_section, counts)):
        for file in files:
            try:
                lines += section(file)
            except ValueError as error:
                lines += _of_another_version(file.stem, error, folder)
    if (content := _claim(folder, "convergence")) is not None:
        lines += [
            f"\n## {content['title']}\n",
            f"{content['caption']}\n",
            "![Curves of training](figures/convergence.png)\n",
            numbers_table(content["numbers"]),
        ]
    return "\n".join(lines) + "\n"


def _several_seeds(comparisons: list[Path]) -> dict[str, dict[str, str]]:
    """Returns the verdicts of each arm that has several seeds, by its comparison and name."""
    judged = {}
    for file in comparisons:
        try:
            content = read(file)
        except ValueError:  # which its section says
            continue
        for arm, claimed in content["arms"].items():
            seeds = max(len(found["by seed"]) for found in claimed.values())
            if arm != "none" and seeds > 1:
                title = f"{file.stem.removeprefix('tradeoff-')}: {arm} ({seeds} seeds)"
                judged[title] = {claim: verdicts.WORDS[found["holds"]] for claim, found in claimed.items()}
    return judged


def _overview(title: str, lead: str, judged: dict[str, dict[str, str]]) -> list[str]:
    """Returns the section with a row a claim, and in a column each network's verdict."""
    if not judged:
        return []
    lines = [f"\n## {title}\n", f"{lead} The figures are below.\n"]
    lines += ["| claim | " + " | ".join(judged) + " |", "| --- " * (1 + len(judged)) + "|"]
    for claim in dict.fromkeys(claim for each in judged.values() for claim in each):
        lines.append(f"| {claim} | " + " | ".join(each.get(claim, "") for each in judged.values()) + " |")
    return lines


def _findings_section(findings: list[verdicts.Finding]) -> list[str]:
    if not findings:
        return []
    lines = [
        "\n## Claims about training and about many networks\n",
        "Not differences from a control: two ways of training in one seed each, and means over networks.\n",
    ]
    lines += ["| claim | the paper's | measured on | ours | holds |", "| --- " * 5 + "|"]
    for claim, paper, measured, ours, holds in findings:
        lines.append(f"| {claim} | {paper} | {measured} | {ours} | {verdicts.WORDS[holds]} |")
    return lines


def _findings(folder: Path, counts: list[Path]) -> list[verdicts.Finding]:
    """Returns what the pictures' numbers and the counts of filters say of training and of many networks."""
    found: list[verdicts.Finding] = []
    gates, curves = ((_claim(folder, name) or {"numbers": {}})["numbers"] for name in ("gates", "convergence"))
    for ours, other in permutations(_trained(folder, gates), 2):
        if ours.config.lsg.sparsity_weight and ours.is_but_for(other, "sparsity-weight", "epochs"):
            epochs = " and ".join(str(each.config.optimizer.epochs) for each in (ours, other))
            measured = f"{ours.name} against {other.name} ({epochs} epochs)"
            found.append(verdicts.of_sparsity(measured, gates[ours.name]["density"], gates[other.name]["density"]))
    for ours, other in permutations(_trained(folder, curves), 2):
        if ours.config.scheme == "alternate" and ours.is_but_for(other, "scheme", "sparsity-weight"):
            measured = f"{ours.name} against {other.name}"
            found += verdicts.of_schemes(measured, curves[ours.name], curves[other.name])
    for file in counts:
        try:
            content = read(file)
        except ValueError:  # which its section says
            continue
        held = content["thresholds"][str(cli.THRESHOLD)]
        alone = [_of_filters(spread["mean"], content) for spread in held["by class"].values()]
        found += verdicts.of_ownership(content["measured"], alone, _of_filters(held["shared"]["mean"], content))
    return found


def _claim(folder: Path, name: str) -> dict[str, Any] | None:
    """Returns what a claim's own command wrote to figures/, None where it is not there."""
    file = folder / "figures" / f"{name}.json"
    if not file.is_file():
        return None
    content = _object(file)
    if missing := [each for each in ("title", "caption", "numbers") if each not in content]:
        raise ValueError(f"{file} has no {missing[0]!r}; make it again with experiments.{name}")
    return content


def _object(file: Path, text: str | None = None) -> dict[str, Any]:
    """Returns the JSON object in a file, or in a ``text`` from it. Raises ValueError where there is none."""
    text = file.read_text() if text is None else text
    try:
        content = json.loads(text)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds no JSON object where one belongs: {text[:40]!r}; make it again")
    return content


class _Trained(NamedTuple):
    """A run with a learned gate, and how it was trained."""

    name: str
    config: Config

    def is_but_for(self, other: "_Trained", first: str, *more: str) -> bool:
        """Tells whether the runs differ in the ``first`` setting, and else in none but ``more``."""
        ours, theirs = self.config.settings(), other.config.settings()
        different = {name for name in ours if ours[name] != theirs[name]}
        return first in different and different <= {first, *more}


def _trained(folder: Path, names: Iterable[str]) -> list[_Trained]:
    """Returns those of the runs that are among the results and learned a gate."""
    files = {name: folder / "runs" / name / "config.json" for name in names}
    found = [_Trained(name, Config.from_json(_object(file))) for name, file in files.items() if file.is_file()]
    return [each for each in found if each.config.gate == "learned"]


def _claims_section(run: str, report: dict[str, Any]) -> list[str]:
    ours, control = report["networks"]
    return [
        f"\n## {ours} against {control}\n",
        f"One seed, `python -m experiments.report` ([all of it](runs/{run}/report.html)).\n",
        claims_table(report),
    ]


def _failures(folder: Path, judged: dict[str, dict[str, str]], findings: list[verdicts.Finding]) -> list[str]:
    """Returns the section that says, of each claim that does not hold, where, and what notes.json has to say of it."""
    failed: dict[str, list[str]] = defaultdict(list)
    for claim in dict.fromkeys(claim for each in judged.values() for claim in each):
        failed[claim] += [run for run, each in judged.items() if each.get(claim) == "no"]
    for finding in findings:
        failed[finding.claim] += [finding.measured] if finding.holds is False else []
    notes = folder / "notes.json"
    if not any(failed.values()) or not notes.is_file():
        return []
    explained = _object(notes)
    lines = ["\n## Where a claim does not hold, and what was tried\n"]
    return lines + [
        f"- **{claim}** ({', '.join(where)}): {explained.get(claim, _UNEXPLAINED)}"
        for claim, where in failed.items()
        if where
    ]


def _of_another_version(title: str, error: ValueError, folder: Path) -> list[str]:
    return [f"\n## {title}\n", f"{str(error).removeprefix(f'{folder}/')}."]


def _arms_section(file: Path) -> list[str]:
    content = read(file)
    return [
        f"\n## Arms and their control: {file.stem.removeprefix('tradeoff-')}\n",
        f"{content['measured']}. By `{content['command']}`. [All numbers]({file.name}).\n",
        f"![Effect and accuracy of each arm, less the control's]({file.stem}.png)\n",
        arms_table(content),
    ]


def _ownership_section(file: Path) -> list[str]:
    content = read(file)
    return [
        f"\n## Filters that classes hold alone (section 4.4): {content['measured']}\n",
        f"By `{content['command']}`. The paper's, over 20 models on CIFAR-10: 10 % of the filters a class alone, "
        "and 10 % shared.\n",
        f"![Filters of each class alone, and shared]({file.stem}.png)\n",
        ownership_table(content),
    ]


def numbers_table(numbers: dict[str, Any]) -> str:
    """Returns the table of the numbers that a claim's command wrote: a row a number, and each network's in a column."""
    heads, *rows = claims.rows(numbers)
    lines = ["|" + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for name, *values in rows:
        cells = [f"{value:.4f}" if isinstance(value, float) else str(value) for value in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ownership_table(content: dict[str, Any]) -> str:
    """Returns the table of what experiments.ownership wrote: mean and standard deviation, in percent of the filters."""
    heads = (
        "threshold",
        "a class alone, % of the filters (± that of one class)",
        "that with fewest",
        "that with most",
        "shared, %",
    )
    lines = ["| " + " | ".join(heads) + " |", "| --- " * len(heads) + "|"]
    for threshold, found in content["thresholds"].items():
        by_size = sorted(found["by class"].items(), key=lambda item: item[1]["mean"])
        cells = [_percent(found["a class alone"], content)]
        cells += [f"{name}: {_percent(spread, content)}" for name, spread in (by_size[0], by_size[-1])]
        cells.append(_percent(found["shared"], content))
        lines.append(f"| {threshold} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(spread: dict[str, float], content: dict[str, Any]) -> str:
    return f"{_of_filters(spread['mean'], content):.1f} ± {_of_filters(spread['std'], content):.1f}"


def _of_filters(count: float, content: dict[str, Any]) -> float:
    """Returns a count of filters in percent of all."""
    return 100 * count / float(content["filters"])


def read(file: Path) -> dict[str, Any]:
    """Returns what report, tradeoff or ownership wrote. Raises ValueError where this version would write another."""
    try:
        content = _object(file)
    except ValueError:
        content = {}
    if content.get("version") != VERSIONS[file.stem.split("-")[0]]:
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
    verdict = f", {verdicts.WORDS[found['holds']]}" if judged and several else ""
    difference = f" ({_range(found['difference'])})" if judged else ""
    return f"{np.mean(values):.4f}{spread}{verdict}{difference}"


def _run_line(path: Path) -> str:
    metrics = path / "metrics.jsonl"
    config, last = _object(path / "config.json"), _object(metrics, metrics.read_text().splitlines()[-1])
    cells = [f"[{path.name}](runs/{path.name})", config["data"]["dataset"], config["model"], config["gate"]]
    cells += ["; ".join(_settings(Config.from_json(config)))]
    cells += [str(last["epoch"] + 1), str(config["seed"])]
    cells += [f"{last[name]:.4f}" for name in summarize.MEASURES]
    return "| " + " | ".join(cells) + " |"


def _settings(config: Config) -> Iterator[str]:
    """Yields the options that are not the command's defaults, but for those with a column and those that follow data.

    Of the latter a weight of the sparsity term of 0 is told.
    """
    usual = {"digits": digits.DEFAULT, "cifar10": cifar10.DEFAULT}[config.data.dataset].settings()
    elsewhere = ("dataset", "model", "gate", "epochs", "seed", "sparsity-weight", "sparsity-target", "shared-filters")
    for name, value in config.settings().items():
        if name not in elsewhere and value != usual[name]:
            yield f"{name} {value.name if isinstance(value, Path) else value}"
    if config.gate == "learned" and config.lsg.sparsity_weight == 0:
        yield "sparsity-weight 0"


def claims_table(report: dict[str, Any]) -> str:
    """Returns the table of the claims that a report of a gated network against a plain one can tell of."""
    lines = ["| claim | the paper's | ours | control's | holds |", "| --- " * 5 + "|"]
    for row in verdicts.rows(report):
        found = verdicts.found(row, report)
        values = [numbers[row.place[-1]] for numbers in found]
        cells = ["" if value is None else f"{value:.4f}" for value in values]
        if row.over_images:
            cells[0] += f" ({_range(found[0][claims.less(row.place[-1])])})"
        if row.filters is not None:
            counts = [numbers[row.filters] for numbers in found]
            cells = [f"{cell} ({count:.3g} filters)" for cell, count in zip(cells, counts, strict=True)]
        lines.append(f"| {row.claim} | {row.paper} | {cells[0]} | {cells[1]} | {verdicts.verdict(row, report)} |")
    return "\n".join(lines)


def readme_table(folder: Path, name: str) -> str:
    """Returns the README's table ``name``: that of a run with a report, a comparison or a claim. Raises ValueError."""
    if (claim := _claim(folder, name)) is not None:
        return numbers_table(claim["numbers"])
    if name.startswith("ownership-") and (file := folder / f"{name}.json").is_file():
        return ownership_table(read(file))
    for kind, table in (("tradeoff-", arms_table), ("effects-", effects_table)):
        if name.startswith(kind) and (file := folder / f"tradeoff-{name.removeprefix(kind)}.json").is_file():
            return table(read(file))
        if name.startswith(kind):
            raise ValueError(f"there is no comparison {name}; make one with experiments.tradeoff")
    run = folder / "runs" / name
    if (run / "report.json").is_file() and verdicts.has_control(report := read(run / "report.json")):
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
