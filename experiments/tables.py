"""The tables of the page of results, of which the README shows some."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from experiments import claims, markdown, verdicts
from lsg_jax.config import Config

CLAIMS = ("claim", "the paper's", "ours", "control's", "holds")


def claims_rows(report: dict[str, Any]) -> list[tuple[str, ...]]:
    """Returns a row, below ``CLAIMS``, for each claim that a report of a gated network against a plain one tells of."""
    rows = []
    for row in verdicts.rows(report):
        found = verdicts.found(row, report)
        values = [numbers[row.place[-1]] for numbers in found]
        cells = ["" if value is None else f"{value:.4f}" for value in values]
        if row.over_images:
            cells[0] += _bracketed(found[0][claims.less(row.place[-1])])
        if row.own_interval and cells[0]:
            low, high = verdicts.own_ends(row, found[0])
            cells[0] += f" ({low:.4f} to {high:.4f})"
        if (budget := found[0].get("budget")) is not None:
            cells[0] += f" ({budget} budget)"
        if row.counted:
            counts = [verdicts.figure(row.counted, report, network) for network in report["networks"]]
            numbers = [f"{count:.3g}" if count % 1 else f"{count:.0f}" for count in counts]
            cells = [f"{cell} ({number} {row.counts})" for cell, number in zip(cells, numbers, strict=True)]
        rows.append((row.claim, row.paper, *cells, verdicts.verdict(row, report)))
    return rows


def claims_table(report: dict[str, Any], stated: bool = False) -> str:
    """Returns the table of the same, with ``stated`` of those of which the paper, or a later one, states figures."""
    rows = claims_rows(report)
    return markdown.table(CLAIMS, [row for row in rows if not stated or any(map(str.isdigit, row[1]))])


def c_ic_table(trained: Iterable[tuple[Config, dict[str, Any]]]) -> str:
    """Returns Table 2, C_IC of networks and their controls, from the configuration of each and its report.

    It has no ratio where either is not above 0.
    """
    rows = []
    for config, report in trained:
        (row,) = (each for each in verdicts.rows(report) if each.place == ("correlation", "C_IC"))
        ours, control = (numbers["C_IC"] for numbers in verdicts.found(row, report))
        figures = f"{ours:.4f}", f"{control:.4f}", f"{ours / control:.2f}" if row.tells(control) and ours > 0 else ""
        described = report["networks"][0], config.model, config.scheme
        rows.append((*described, row.paper, *figures, verdicts.verdict(row, report)))
    heads = ("network", "model", "scheme", "the paper's", "ours", "control's", "ours / control's", "at most 0.62")
    return markdown.table(heads, rows)


def arms_table(content: dict[str, Any]) -> str:
    """Returns the table of what experiments.tradeoff wrote: a row a claim, and the control and each arm beside it."""
    rows = (
        (claim, stated, *(_arm_cell(content, arm, claim) for arm in content["arms"]))
        for claim, stated in content["claims"].items()
    )
    return markdown.table(("claim", "the paper's", *content["arms"]), rows)


def arm_verdict(content: dict[str, Any], arm: str, claim: str) -> str:
    """Returns whether a claim holds of an arm, in words."""
    holds, of_control = (content["arms"][each][claim]["holds"] for each in (arm, "none"))
    return verdicts.said(holds, claim in content["alone"] and of_control)


def effects_table(
    content: dict[str, Any], named: Mapping[str, str] | None = None, effects: Sequence[str] | None = None
) -> str:
    """Returns the same in short: a row an arm, and its figure and that less the control's for each effect.

    Where there are several seeds, the difference is Student's 95 % interval. It has the arms that are ``named``, by
    those names, and these ``effects``; by default all.
    """
    named = {arm: arm for arm in content["arms"]} if named is None else named
    effects = list(content["effects"]) if effects is None else effects
    rows = []
    for arm, name in named.items():
        found = [content["arms"][arm][content["effects"][effect]] for effect in effects]
        differences = ["" if arm == "none" else _bracketed(each["difference"]) for each in found]
        cells = [f"{each['mean']['mean']:.4f}{less}" for each, less in zip(found, differences, strict=True)]
        rows.append((name, str(len(found[0]["by seed"])), *cells))
    return markdown.table(("arm", "seeds", *effects), rows)


def _bracketed(difference: dict[str, float | None]) -> str:
    mean = difference["mean"]
    return "" if mean is None else claims.ends(difference) or f" ({mean:+.4f})"


def _arm_cell(content: dict[str, Any], arm: str, claim: str) -> str:
    found, judged = content["arms"][arm][claim], arm != "none"
    values = list(found["by seed"].values())
    several = len(values) > 1
    spread = f" ± {np.std(values, ddof=1):.4f}" if several else ""
    verdict = f", {arm_verdict(content, arm, claim)}" if judged and several else ""
    difference = _bracketed(found["difference"]) if judged else ""
    return f"{np.mean(values):.4f}{spread}{verdict}{difference}"


def ownership_table(content: dict[str, Any]) -> str:
    """Returns the table of what experiments.ownership wrote: mean and standard deviation, in percent of the filters."""
    heads = (
        "threshold",
        "a class alone, % of the filters (± that of one class)",
        "that with fewest",
        "that with most",
        "shared, %",
    )
    rows = []
    for threshold, found in content["thresholds"].items():
        by_size = sorted(found["by class"].items(), key=lambda item: item[1]["mean"])
        ends = [f"{name}: {_percent(spread, content)}" for name, spread in (by_size[0], by_size[-1])]
        alone, shared = (_percent(found[name], content) for name in ("a class alone", "shared"))
        rows.append((threshold, alone, *ends, shared))
    return markdown.table(heads, rows)


def _percent(spread: dict[str, float], content: dict[str, Any]) -> str:
    return f"{of_filters(spread['mean'], content):.1f} ± {of_filters(spread['std'], content):.1f}"


def of_filters(count: float, content: dict[str, Any]) -> float:
    """Returns a count of filters in percent of all, of which ``content`` has the number."""
    return 100 * count / float(content["filters"])


def numbers_table(numbers: dict[str, Any]) -> str:
    """Returns the table of the numbers that a claim's command wrote: a row a number, and each network's in a column."""
    heads, *rows = claims.rows(numbers)
    return markdown.table(
        heads, [[f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    )
