"""Writes results/README.md from the runs in results/runs: each claim, the paper's figure, ours, and the control's.

Beside it verdicts.png and verdicts-seeds.png show which claims hold.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from experiments import alike, cifar10, cli, digits, markdown, stored, summarize, tables, tradeoff, verdicts
from lsg_jax import files, plots
from lsg_jax.analysis.comparison import Interval, interval_of
from lsg_jax.config import Config

_HEAD = """# Results

Written by `python -m experiments.results` from the files beside it. Each run is a folder that `lsg_jax.load_run` opens;
its `report.html`, where it has one, has the pictures (download it and open it in a browser).

- **Claim and control.** A claim is a difference between a network trained with a gate and its control, a plain network
  of the same budget, seed and data order (of the tightened gate, going on from another start). Claims about a figure
  that is small by itself are judged by it, whatever the control's is.
- **yes, no, cannot tell.** Where an interval stands in brackets, it is the 95 % interval of the difference from the
  control or, where it has no signs, of the figure itself: a claim holds or fails where it does so at both ends, and
  else they cannot tell. **yes, the control too**: the control's own figure is as good, which tells nothing of what the
  gate has done. Of so many claims a few in a hundred would seem to hold or fail by chance alone.
- **One seed** of a run and of its control: the interval is over the test images, which are the same for both (of shares
  Newcombe's, of means Student's). Where there is none, a small difference may be chance.
- **Several seeds:** the tables give mean, standard deviation, and Student's 95 % interval of the difference from the
  control of the same seed; a claim is judged likewise, by the interval of what it compares (for a ratio, of ours less
  the ratio times the control's). Arms with one seed have the difference alone. Networks that start from the same
  weights share more than their settings: their intervals are those of going on from these weights, not from others.
- **Thresholds.** 0.62 and 0.37 are ratios of the paper's figures for ResNet20 (AlexNet's C_IC has 0.56). Where the
  control's figure (of several seeds the lower end of its interval) is 0 or less, that ours is at most 0.62 of it cannot
  be told, and fails where ours is not even lower. Half a point of accuracy, a density of 0.12, 0.02 of recall, pairs
  above 0.1, 1.7 times the mutual information score and an accuracy of 0.05 without own filters are this project's
  choices, some stricter than the paper's figures.
- **Data and budgets.** CIFAR-10 is a copy that had once been re-encoded as JPEG: figures compare with each other, not
  with those of the original images. Insertion and deletion are means over the first 1,000 test images, or all of fewer;
  the attacks have the budget that stands beside them: that of the papers they are from (cited), or a short one. In
  bfloat16 another kind of device than the one that trained a network may classify a few images otherwise.
- **The paper's figures** are those of ResNet20 on CIFAR-10, and of AlexNet for its C_IC; beside them stand those of
  [its authors' later one](https://arxiv.org/abs/2007.08194) (ECCV 2020) and of [a
  re-implementation](https://github.com/NeverGiveU/NNInterpretation) of that."""
_ONE_SEED = (
    "One seed each: where there is no interval, a difference in the last decimals is a yes or a no too. Of arms that "
    "have several seeds, the section after this one tells more."
)
_ONE_SEED_PICTURE, _SEEDS_PICTURE = "verdicts.png", "verdicts-seeds.png"
_HEADLINE = (
    {
        "none": "the control, trained without a gate",
        "learned": "the paper's method",
        "learned, scheme joint, silence-weight 0.5, complement-weight 0.1": "joint scheme, and this project's costs",
    },
    ("accuracy", "mutual information score", "accuracy without own filters"),
)
_NAMED = 4  # as many as a line names; the pictures show more
_UNEXPLAINED = "not explained yet"
_MEASURES = summarize.MEASURES.values()
_RUN_HEADS = ("run", "data", "model", "gate", "settings", "epochs", "minutes", "seed", *_MEASURES, "pictures")
_Files = dict[Path, dict[str, Any] | ValueError]


@dataclass(frozen=True)
class Options:
    """Where the results lie."""

    folder: Path = Path("results")
    """The folder that holds runs/ and gets README.md."""
    tables: tuple[str, ...] = ()
    """What has a table in ./README.md or ./results/findings.md too, between marks of that name: a run with a report
    (cifar10-learned, or in short stated-cifar10-learned), a comparison (tradeoff-finetune, or in short
    effects-finetune), counts (ownership-cifar10), the numbers of figures/CLAIM.json (convergence), or C_IC of all
    networks with the fixed gate from scratch (table2), or the arms of the README's first table (headline)."""


class Results(NamedTuple):
    """What lies in a folder of results.

    Attributes:
      folder: where.
      paths: the folders of its trained runs, and of imported networks with a report.
      reports: of these, those that are there.
      comparisons: of arms.
      counts: of the filters that classes hold alone.
      one_seed: the verdicts of each network whose report has a control, by its name and the claim.
      several_seeds: those of each arm that has several seeds, by its comparison and name.
    """

    folder: Path
    paths: list[Path]
    reports: _Files
    comparisons: _Files
    counts: _Files
    one_seed: dict[str, dict[str, str]]
    several_seeds: dict[str, dict[str, str]]


def read(folder: Path) -> Results:
    """Returns the results in ``folder``. Raises ValueError where there are none."""
    paths = sorted(path.parent for path in (folder / "runs").glob("*/config.json"))
    paths = [path for path in paths if (path / "metrics.jsonl").read_text("utf-8") or (path / "report.json").is_file()]
    reports = _read(file for path in paths if (file := path / "report.json").is_file())
    comparisons, counts = (_read(sorted(folder.glob(f"{kind}-*.json"))) for kind in ("tradeoff", "ownership"))
    if not paths and not comparisons and not counts:
        raise ValueError(f"{folder / 'runs'} holds no runs; copy some with experiments.publish")
    return Results(folder, paths, reports, comparisons, counts, _one_seed(reports), _several_seeds(comparisons))


def page(results: Results) -> str:
    """Returns the page of the results."""
    folder, judged, several = results.folder, results.one_seed, results.several_seeds
    findings = _findings(folder, results.comparisons, results.counts)
    sections = [
        *_overview("At a glance", _ONE_SEED, judged, _ONE_SEED_PICTURE),
        *_overview("At a glance, several seeds", "Judged by intervals over the seeds.", several, _SEEDS_PICTURE),
        *_findings_section(findings),
        "\n## Runs\n",
        "Figures are those after the last epoch, minutes those of all epochs, on whatever trained them, some beside "
        "other work.\n",
        markdown.table(_RUN_HEADS, (_run_cells(path, results.reports) for path in results.paths)),
        *_sections(folder, results.reports, _claims_section),
        *_failures(folder, judged | several, findings),
        *_sections(folder, results.comparisons, _arms_section),
        *_sections(folder, results.counts, _ownership_section),
    ]
    if (content := stored.claim(folder, "convergence")) is not None:
        sections += [
            f"\n## {content['title']}\n",
            f"{content['caption']}\n",
            "![Curves of training](figures/convergence.png)\n",
            tables.numbers_table(content["numbers"]),
        ]
    return "\n".join([_HEAD, *_contents(sections), *sections]) + "\n"


def _contents(sections: Iterable[str]) -> Iterator[str]:
    """Yields the lines that lead to the sections, by the anchors that code hosts give them."""
    yield "\n<details><summary>Contents</summary>\n"
    for line in sections:
        if line.startswith("\n## "):
            title = line.strip("#\n ")
            anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            yield f"- [{title}](#{anchor})"
    yield "\n</details>"


def glance(results: Results) -> dict[str, Figure]:
    """Returns the pictures of all verdicts by the names of their files: of one seed, and of several."""
    judged = {_ONE_SEED_PICTURE: results.one_seed, _SEEDS_PICTURE: results.several_seeds}
    return {name: plots.verdicts(columns) for name, columns in judged.items() if columns}


def _read(files: Iterable[Path]) -> _Files:
    """Returns what each file holds, or the error of one that cannot be read: a plan may be about to make it again."""
    found: _Files = {}
    for file in files:
        try:
            found[file] = verdicts.read(file) if file.name == "report.json" else stored.read(file)
        except ValueError as error:
            found[file] = error
    return found


def _readable(files: _Files) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file, content in files.items():
        if not isinstance(content, ValueError):
            yield file, content


def _sections(folder: Path, files: _Files, section: Callable[[Path, dict[str, Any]], list[str]]) -> Iterator[str]:
    """Yields the lines about each file, which of one that cannot be read say so."""
    for file, content in files.items():
        if isinstance(content, ValueError):
            title = file.parent.name if file.name == "report.json" else file.stem
            yield from (f"\n## {title}\n", f"{str(content).removeprefix(f'{folder}/')}.")
        else:
            yield from section(file, content)


def _one_seed(reports: _Files) -> dict[str, dict[str, str]]:
    return {
        file.parent.name: {row.claim: verdicts.verdict(row, report) for row in verdicts.rows(report)}
        for file, report in _readable(reports)
        if verdicts.has_control(report)
    }


def _several_seeds(comparisons: _Files) -> dict[str, dict[str, str]]:
    judged = {}
    for file, content in _readable(comparisons):
        for arm, claimed in content["arms"].items():
            seeds = max(len(found["by seed"]) for found in claimed.values())
            if arm != "none" and seeds > 1:
                dataset, plan = content["measured"].split(",")[0].split()[-1], file.stem.removeprefix("tradeoff-")
                title = f"{dataset}, {plan}: {arm} ({seeds} seeds)"
                judged[title] = {claim: tables.arm_verdict(content, arm, claim) for claim in claimed}
    return judged


def _overview(title: str, lead: str, judged: dict[str, dict[str, str]], picture: str) -> list[str]:
    """Returns the section with a picture of the verdicts, and a row a claim, and in a column each network's verdict."""
    if not judged:
        return []
    stated = dict.fromkeys(claim for each in judged.values() for claim in each)
    rows = ((claim, *(each.get(claim, "") for each in judged.values())) for claim in stated)
    return [
        f"\n## {title}\n",
        f"{lead} The figures are below.\n",
        f"![{title}: which claims hold]({picture})\n",
        "<details><summary>The same as a table</summary>\n",
        markdown.table(("claim", *judged), rows),
        "\n</details>",
    ]


def _findings_section(findings: list[verdicts.Finding]) -> list[str]:
    if not findings:
        return []
    rows = ((*finding[:-1], verdicts.WORDS[finding.holds]) for finding in findings)
    return [
        "\n## Claims about training and about many networks\n",
        "Not differences from a control: two ways of training, and means over networks. Where an interval stands in "
        "brackets, it is Student's 95 % interval, of the difference over several seeds or of the share of filters over "
        "the networks; those of each class's filters, which are judged but not shown, hold together with 95 %. Of "
        "networks that differ in more than the seed it is that of these very settings. An accuracy that never stays at "
        "the level counts as doing so one epoch after the last.\n",
        markdown.table(("claim", "the paper's", "measured on", "ours", "holds"), rows),
    ]


def _findings(folder: Path, comparisons: _Files, counts: _Files) -> list[verdicts.Finding]:
    """Returns what the gates' runs, comparisons and counts of filters say of training and of many networks."""
    found: list[verdicts.Finding] = []
    for ours, other in permutations(_trained(folder, _numbers(folder, "gates")), 2):
        with_term, without = ours.config.lsg.sparsity_weight, other.config.lsg.sparsity_weight == 0
        if with_term and without and ours.is_but_for(other, "sparsity-weight", "epochs"):
            epochs = min(len(ours.density), len(other.density))
            measured = f"{ours.name} against {other.name}, both after {epochs} epochs"
            found.append(verdicts.of_sparsity(measured, ours.density[epochs - 1], other.density[epochs - 1]))
    for _, content in _readable(comparisons):
        for each in content["schemes"]:
            seeds = "" if len(each["seeds"]) == 1 else f" ({len(each['seeds'])} seeds)"
            compared = f"{each['alternating']} against {each['joint']}{seeds}"
            measured = f"{content['measured'].split(';')[0]}: {compared}"
            found += verdicts.of_schemes(measured, each)
    for _, content in _readable(counts):
        held = content["thresholds"][str(cli.THRESHOLD)]
        confidence = 1 - 0.05 / len(held["by class"])
        alone = [_share_of_filters(spread, content, confidence) for spread in held["by class"].values()]
        found += verdicts.of_ownership(content["measured"], alone, _share_of_filters(held["shared"], content, 0.95))
    return found


def _share_of_filters(spread: dict[str, float], content: dict[str, Any], confidence: float) -> Interval:
    """Returns the interval of a mean count of filters over networks, in percent of all."""
    mean, std = (tables.of_filters(spread[name], content) for name in ("mean", "std"))
    return interval_of(mean, std, len(content["runs"]), confidence)


def _numbers(folder: Path, name: str) -> dict[str, Any]:
    content = stored.claim(folder, name)
    return {} if content is None else content["numbers"]


class _Trained(NamedTuple):
    """A run with a learned gate: how it was trained, and the gate's density after each epoch."""

    name: str
    config: Config
    density: list[float]

    def is_but_for(self, other: "_Trained", first: str, *more: str) -> bool:
        """Tells whether the runs differ in the ``first`` setting, and else in none but ``more``."""
        ours, theirs = self.config.settings(), other.config.settings()
        different = {name for name in ours if ours[name] != theirs[name]}
        return first in different and different <= {first, *more}


def _trained(folder: Path, names: Iterable[str]) -> list[_Trained]:
    """Returns those of the runs that are among the results and learned a gate."""
    found = []
    for run in (folder / "runs" / name for name in names):
        if (file := run / "config.json").is_file():
            config = Config.from_json(stored.json_object(file))
            found.append(_Trained(run.name, config, [line["density"] for line in _history(run)]))
    return [each for each in found if each.config.gate == "learned"]


def _history(run: Path) -> list[dict[str, Any]]:
    metrics = run / "metrics.jsonl"
    return [stored.json_object(metrics, line) for line in metrics.read_text("utf-8").splitlines()]


def _claims_section(file: Path, report: dict[str, Any]) -> list[str]:
    title = f"\n## {' against '.join(report['networks'])}\n"
    if not verdicts.has_control(report):
        differing = alike.told(verdicts.unlike(report))
        return [title, f"No verdicts: they differ in more than the gate: {differing}."] if differing else []
    return [
        title,
        f"One seed, `python -m experiments.report` ([all of it](runs/{file.parent.name}/report.html)).\n",
        tables.claims_table(report),
    ]


def _failures(folder: Path, judged: dict[str, dict[str, str]], findings: list[verdicts.Finding]) -> list[str]:
    """Returns the section that says where a claim does not hold or cannot be told, and what notes.json says of it."""
    told: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for measured, verdicts_of in judged.items():
        for claim, verdict in verdicts_of.items():
            told[claim][verdict].append(measured)
    for finding in findings:
        told[finding.claim][verdicts.WORDS[finding.holds]].append(finding.measured)
    failed = {claim: "; ".join(_unshown(found)) for claim, found in told.items()}
    notes = folder / "notes.json"
    if not any(failed.values()) or not notes.is_file():
        return []
    explained = stored.json_object(notes)
    lines = ["\n## Where a claim does not hold or cannot be told, and what was tried\n"]
    return lines + [
        f"- **{claim}** ({where}). {explained.get(claim, _UNEXPLAINED)}" for claim, where in failed.items() if where
    ]


def _unshown(measured: dict[str, list[str]]) -> Iterator[str]:
    """Yields, by verdict, where a claim does not hold and where it cannot be told, or in how many cases."""
    for holds in (False, None):
        if where := measured[verdicts.WORDS[holds]]:
            yield f"{verdicts.WORDS[holds]}: {', '.join(where) if len(where) <= _NAMED else f'{len(where)} of these'}"


def _arms_section(file: Path, content: dict[str, Any]) -> list[str]:
    kept = all((file.parent / "runs" / Path(run).name).is_dir() for run in content["runs"])
    unkept = (
        ""
        if kept
        else " The runs themselves, a megabyte each, are not kept here; the command of each is among the numbers."
    )
    untold = f" Not told of, as the control's figure depends on the arm beside it: {verdicts.PAIRED}."
    if content["untold"]:
        untold += f" Nor, as not every network here has images to tell by: {', '.join(content['untold'])}."
    return [
        f"\n## Arms and their control: {file.stem.removeprefix('tradeoff-')}\n",
        f"{content['measured']}. By `{content['command']}`. [All numbers]({file.name}).{unkept}{untold}\n",
        f"![Effect and accuracy of each arm, less the control's]({file.stem}.png)\n",
        tables.arms_table(content),
    ]


def _ownership_section(file: Path, content: dict[str, Any]) -> list[str]:
    return [
        f"\n## Filters that classes hold alone (section 4.4): {content['measured']}\n",
        f"By `{content['command']}`. The paper's, over 20 models on CIFAR-10: 10 % of the filters a class alone, "
        "and 10 % shared.\n",
        f"![Filters of each class alone, and shared]({file.stem}.png)\n",
        tables.ownership_table(content),
    ]


def _run_cells(path: Path, reports: _Files) -> list[str]:
    config = stored.json_object(path / "config.json")
    if history := _history(path):
        last = history[-1]
        minutes = sum(epoch["seconds"] for epoch in history) / 60
        settings = "; ".join(_settings(Config.from_json(config)))
        training = settings, str(last["epoch"] + 1), f"{minutes:.0f}", str(config["seed"])
    else:
        last, training = _imported(reports[path / "report.json"]), ("imported, trained elsewhere", "", "", "")
    return [
        *(f"[{path.name}](runs/{path.name})", config["data"]["dataset"], config["model"], config["gate"], *training),
        *(f"{last[name]:.4f}" if name in last else "" for name in summarize.MEASURES),
        f"[report](runs/{path.name}/report.html)" if (path / "report.html").is_file() else "",
    ]


def _imported(report: dict[str, Any] | ValueError) -> dict[str, float]:
    """Returns what a report, if it can be read, says of a network that was trained without a gate elsewhere."""
    if isinstance(report, ValueError):
        return {}
    numbers = report["claims"]["table1"]["numbers"][report["networks"][0]]
    return {"test_accuracy": numbers["accuracy"], "test_cross_entropy": numbers["cross entropy"]}


def _settings(config: Config) -> Iterator[str]:
    """Yields the options that are not the command's defaults, but for those with a column and those that follow data.

    Of the latter a weight of the sparsity term of 0 is told.
    """
    defaults = {"digits": digits.DEFAULT, "cifar10": cifar10.DEFAULT}
    usual = defaults.get(config.data.dataset, Config()).settings()
    elsewhere = ("dataset", "model", "gate", "epochs", "seed", "sparsity-weight", "sparsity-target", "shared-filters")
    settings = config.settings() | {"init": config.init and config.init.name}
    for name, value in settings.items():
        if name not in elsewhere and value != usual[name]:
            yield f"{name} {value}"
    if config.gate == "learned" and config.lsg.sparsity_weight == 0:
        yield "sparsity-weight 0"


def table(folder: Path, name: str) -> str:
    """Returns the table of a page that ``Options.tables`` calls ``name``. Raises ValueError where there is none."""
    if name == "table2":
        return tables.c_ic_table(_fixed(folder))
    if name == "headline":
        content = stored.read(folder / "tradeoff-finetune.json")
        if missing := [arm for arm in _HEADLINE[0] if arm not in content["arms"]]:
            raise ValueError(f"tradeoff-finetune.json has no arm {missing[0]!r}, which the first table shows")
        return tables.effects_table(content, *_HEADLINE)
    if (claim := stored.claim(folder, name)) is not None:
        return tables.numbers_table(claim["numbers"])
    if name.startswith("ownership-") and (file := folder / f"{name}.json").is_file():
        return tables.ownership_table(stored.read(file))
    for kind, of_arms in (("tradeoff-", tables.arms_table), ("effects-", tables.effects_table)):
        if name.startswith(kind) and (file := folder / f"tradeoff-{name.removeprefix(kind)}.json").is_file():
            return of_arms(stored.read(file))
        if name.startswith(kind):
            raise ValueError(f"there is no comparison {name}; make one with experiments.tradeoff")
    if name.startswith("ownership-"):
        raise ValueError(f"there is no {name}.json in {folder}; make it with experiments.ownership")
    run = folder / "runs" / name.removeprefix("stated-")
    if (run / "report.json").is_file() and verdicts.has_control(report := verdicts.read(run / "report.json")):
        return tables.claims_table(report, stated=name.startswith("stated-"))
    raise ValueError(f"{name} is no comparison, count or claim in {folder}, and no run with a report against a control")


def _fixed(folder: Path) -> Iterator[tuple[Config, dict[str, Any]]]:
    """Yields configuration and report of each network that was trained with the fixed gate from scratch."""
    for file, report in _readable(_read(sorted((folder / "runs").glob("*/report.json")))):
        config = Config.from_json(stored.json_object(file.with_name("config.json")))
        if config.gate == "fixed" and config.init is None and verdicts.has_control(report):
            yield config, report


def write(options: Options) -> None:
    """Writes the page with its pictures of verdicts and of comparisons and, where asked, tables of other pages."""
    found = read(options.folder)
    content = page(found)
    markdown.fill({name: table(options.folder, name) for name in options.tables})
    for file, compared in _readable(found.comparisons):
        cli.save_figure(tradeoff.picture(compared), file.with_suffix(".png"))
    for name, figure in glance(found).items():
        cli.save_figure(figure, options.folder / name)
    files.publish_text(options.folder / "README.md", content)
    print(options.folder / "README.md")


if __name__ == "__main__":
    cli.main(lambda: write(cli.parse(Options, __doc__ or "")))
