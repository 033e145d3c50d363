"""Every claim of the paper for any run, in one page that opens from disk: report.html, and report.json."""

import base64
import html
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from experiments import (
    alike,
    attacks,
    claims,
    cli,
    clustering,
    convergence,
    correlation,
    explorer,
    gates,
    localization,
    masking,
    similarity,
    specificity,
    stored,
    summarize,
    table1,
    tables,
    verdicts,
)
from experiments.claims import Claim
from experiments.network import Network, open_networks
from lsg_jax import Run, checks, files
from lsg_jax.config import Unset

Measure = Callable[[list[Network]], Claim]
# All but the attacks, which take minutes.
MEASURES: tuple[Measure, ...] = (
    table1.measure,
    gates.measure,
    masking.measure,
    similarity.measure,
    localization.measure,
    correlation.measure,
    clustering.measure,
    specificity.measure,
    convergence.measure,
)
_JUDGED = (
    "One seed, on the test images. Where an interval stands in brackets, a claim holds or fails where it does so at "
    "both ends, and else they cannot tell; where there is none, a small difference may be chance. Claims about a "
    "figure that is small by itself are judged by it alone: where the control's is as good, that is said. The paper's "
    "figures are those of CIFAR-10. The sections below have the pictures and all numbers."
)
_NO_CONTROL = (
    "Which claims hold is a matter of comparison, and no control is here: make a report of a network with a gate and, "
    "by --against, of one that was trained alike (for as long, from the same seed and start) but for --gate=none."
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8886; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.2rem; margin-top: 2.5rem; border-top: 1px solid var(--line); }}
figure {{ margin: 1rem 0; }} figcaption {{ font-size: .9em; }}
img {{ max-width: max(100%, 36rem); height: auto; background: white; border-radius: 4px; }}
.scroll {{ overflow-x: auto; }}
code {{ overflow-wrap: anywhere; font-size: .85em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .15rem .8rem .15rem 0; text-align: left; border-bottom: 1px solid var(--line); }}
td + td, th + th {{ text-align: right; }}
#glance td + td, #glance th + th {{ text-align: left; }}
#glance td:nth-child(2) {{ font-weight: bold; }}
#glance table {{ font-size: .85em; line-height: 1.35; }}
#glance td:first-child {{ min-width: 12rem; }} #glance td:nth-child(3) {{ min-width: 8rem; }}
summary {{ cursor: pointer; }}
nav a {{ margin-right: 1rem; display: inline-block; }}
</style>
<h1>{title}</h1>
<p>{lead}</p>
<details><summary>How to train it again</summary>{commands}</details>
<nav>{contents}</nav>
{glance}
{explorer}
{sections}
</html>
"""


@dataclass(frozen=True)
class Options:
    """Which networks to report on."""

    run: tyro.conf.Positional[Path]
    """The run folder."""
    against: Unset[Path] = None
    """A second run folder, to compare with: a network that was trained alike, but for --gate=none."""
    data_dir: Unset[Path] = None
    """The TFDS data directory to read from (default: the one it was trained from)."""
    output: Unset[Path] = None
    """The folder for report.html and report.json (default: the run folder)."""
    attack_images: int = attacks.IMAGES
    """How many test images are attacked; 0 leaves the attacks out, which take minutes a network."""
    attack_budget: attacks.Budget = "short"
    """short, which takes minutes a network on a CPU, or cited, that of the papers they are from: hours."""

    def __post_init__(self) -> None:
        checks.whole("--attack-images", self.attack_images, 0)


def content_of(networks: list[Network], found: list[Claim]) -> dict[str, Any]:
    """Returns what report.json holds."""
    return {
        "version": stored.VERSIONS["report"],
        "networks": [network.name for network in networks],
        "trained": {network.name: alike.settings(network.run) for network in networks},
        "claims": {claim.name: {"title": claim.title, "numbers": claim.numbers} for claim in found},
    }


def page(networks: list[Network], found: list[Claim]) -> str:
    """Returns the page: self-contained, every string of a run escaped."""
    title = html.escape(" against ".join(network.name for network in networks))
    lead = "; ".join(
        f"{network.name}: {network.run.config.model} on {network.run.config.data.dataset}, "
        f"gate {network.run.config.gate}, {len(network.run.history)} epochs, seed {network.run.config.seed}"
        for network in networks
    )
    commands = "".join(
        f"<p>{html.escape(network.name)}: <code>{html.escape(_origin(network.run))}</code></p>" for network in networks
    )
    links = [
        ("glance", "At a glance"),
        ("explorer", "Explore"),
        *((claim.name, claim.title.split(":")[0]) for claim in found),
    ]
    return PAGE.format(
        title=title,
        lead=html.escape(lead),
        commands=commands,
        contents=" ".join(f'<a href="#{place}">{html.escape(name)}</a>' for place, name in links),
        glance=_glance(json.loads(claims.to_json(content_of(networks, found)))),
        explorer=explorer.section(networks),
        sections="\n".join(map(_section, found)),
    )


def _glance(report: dict[str, Any]) -> str:
    """Returns the section that says which claims hold."""
    if verdicts.has_control(report):
        rows = tables.claims_rows(report)
        counts = Counter(holds for *_, holds in rows)
        words = verdicts.WORDS[True], verdicts.TOO, verdicts.WORDS[False], verdicts.WORDS[None], verdicts.UNSEEN
        told = "; ".join(f"{word}: {counts[word]}" for word in words if counts[word])
        first, plain = report["networks"]
        ordered = [(claim, holds, *ours, stated) for claim, stated, *ours, holds in (tables.CLAIMS, *rows)]
        content = (
            f"<p>{html.escape(f'Which claims hold for {first} beside its control {plain}? {told}.')} {_JUDGED}</p>"
            f'<div class="scroll">{_table(ordered[0], ordered[1:])}</div>'
        )
    else:
        differing = alike.told(verdicts.unlike(report))
        unlike = f"These differ in more than the gate: {differing}. " if differing else ""
        content = f"<p>{html.escape(unlike)}{_NO_CONTROL}</p>"
    return f'<section id="glance"><h2>At a glance</h2>{content}</section>'


def _origin(run: Run) -> str:
    if run.imported:
        return "imported, trained elsewhere"
    return summarize.command(run.config)


def _section(claim: Claim) -> str:
    heads, *rows = claims.rows(claim.numbers)
    pictures = "".join(
        f'<figure><div class="scroll"><img alt="{html.escape(picture.caption)}" '
        f'src="data:image/webp;base64,{_webp(picture.draw())}"></div><figcaption>{html.escape(picture.caption)} '
        f"{_download(f'{html.escape(name)}.json', picture.arrays, 'What it shows, as JSON')}</figcaption></figure>"
        for name, picture in claim.pictures.items()
    )
    return (
        f'<section id="{claim.name}"><h2>{html.escape(claim.title)}</h2><p>{html.escape(claim.caption)}</p>'
        f'{pictures}<details><summary>All numbers</summary><div class="scroll">{_table(heads, rows)}</div></details>'
        f"<p>{_download(f'{claim.name}-numbers.json', claim.numbers, 'These numbers as JSON')}</p></section>"
    )


def _download(file: str, content: dict[str, Any], words: str) -> str:
    data = base64.b64encode(claims.to_json(content, indent=None).encode()).decode()
    return f'<a download="{file}" href="data:application/json;base64,{data}">{words}</a>'


def _webp(figure: Figure) -> str:
    """Returns the picture without loss, in less than half of a PNG's size: room for the explorer's data."""
    content = io.BytesIO()
    figure.savefig(content, dpi=110, format="webp", pil_kwargs={"lossless": True})
    return base64.b64encode(content.getvalue()).decode()


def _table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, list):
        value = ", ".join(value)
    return html.escape(f"{value:.4f}" if isinstance(value, float) else str(value))


def report(options: Options) -> None:
    """Opens the networks, measures every claim and writes both files."""
    networks = open_networks(options.run, options.against, options.data_dir)
    folder = cli.output_folder(options.run, options.output)
    write(networks, folder, with_attacks(options.attack_images, options.attack_budget))


def with_attacks(images: int, budget: attacks.Budget) -> tuple[Measure, ...]:
    """Returns ``MEASURES`` and, unless there are no ``images`` to attack, the attacks."""
    return (*MEASURES, partial(attacks.measure, count=images, budget=budget)) if images else MEASURES


def _check(networks: list[Network]) -> None:
    checks.instance("the networks", networks, list)
    checks.whole("the number of networks", len(networks), 1, 2)
    for network in networks:
        checks.instance("a network", network, Network)
    first, last = networks[0], networks[-1]
    if len(networks) == 2 and first.name == last.name:
        raise ValueError(f"the networks must have different names, got {first.name} twice")
    if first.run.class_names != last.run.class_names:
        raise ValueError(f"{first.name} and {last.name} must have the same class names in the same order")
    if not all(map(np.array_equal, first.dataset.test, last.dataset.test)):
        raise ValueError(f"{first.name} and {last.name} must have the same test images and labels")


def write(networks: list[Network], folder: Path, measures: Sequence[Measure] = MEASURES) -> None:
    """Writes report.html and report.json of one network, or of one beside another on the same images.

    Raises OSError where the folder cannot be written, and ValueError where there are more networks, or two of one name,
    of different classes or on different test images.
    """
    _check(networks)
    cli.check_writable(folder)
    found = []
    for measure in measures:
        command = getattr(measure, "func", measure).__module__.removeprefix("experiments.")
        print(command, flush=True)
        began = time.perf_counter()
        found.append(measure(networks))
        print(f"  {found[-1].title}: {time.perf_counter() - began:.1f} s", flush=True)
    content = {"report.html": page(networks, found), "report.json": claims.to_json(content_of(networks, found))}
    for name, text in content.items():
        files.publish_text(folder / name, text)
        print(folder / name)


if __name__ == "__main__":
    cli.main(lambda: report(cli.parse(Options, __doc__ or "")))
