"""``python -m tests.faults``: tries every fault many times. What was tried is kept; stopped, it goes on.

Writes ``results/reliability.json`` and the table in ``docs/run-folder.md``; remove the first to try all again.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import results
from experiments import cli, summarize
from lsg_jax import cache
from tests.faults.faults import FAULTS

RESULTS, PAGE = Path("results/reliability.json"), Path("docs/run-folder.md")


@dataclass(frozen=True)
class Options:
    """Which faults to try."""

    only: tuple[str, ...] = ()
    """Their names (default: all that may be tried: only root can mount a small disk)."""


def main() -> None:
    options = cli.parse(Options, __doc__ or "")
    if unknown := set(options.only) - set(FAULTS):
        raise ValueError(f"unknown --only {sorted(unknown)[0]!r}; choose among: {', '.join(FAULTS)}")
    mine = [name for name in FAULTS if os.geteuid() == 0 or "root only" not in name]
    for name in options.only or mine:
        found = read().get(name, {"tries": 0, "survived": 0, "failures": []})
        for seed in tqdm(range(found["tries"], FAULTS[name].tries), name, leave=False, disable=None):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    FAULTS[name].survive(np.random.default_rng(seed), Path(folder) / "run")
                    found["survived"] += 1
                except AssertionError as error:
                    found["failures"].append({"seed": seed, "what": str(error)[:500]})
            found |= {"tries": seed + 1, "revision": results.revision()}
            write(name, found)
        print(f"{name}: {found['survived']} of {found['tries']}", flush=True)


def read() -> dict[str, dict[str, Any]]:
    """Returns what was found of each fault so far."""
    return json.loads(RESULTS.read_text())["faults"] if RESULTS.is_file() else {}


def write(name: str, found: dict[str, Any]) -> None:
    """Keeps what was found of a fault, and shows it."""
    every = read() | {name: found}
    content = {
        "command": "python -m tests.faults",
        "versions": summarize.versions(),
        "faults": {each: every[each] for each in FAULTS if each in every},
    }
    cache.publish(RESULTS, lambda file: file.write_text(json.dumps(content, indent=1) + "\n"))
    page = summarize.insert(PAGE.read_text(), "reliability", table(content["faults"]))
    cache.publish(PAGE, lambda file: file.write_text(page))


def table(faults: dict[str, dict[str, Any]]) -> str:
    """Returns the Markdown table."""
    lines = ["| fault | tries | survived |", "| --- | --- | --- |"]
    lines += [f"| {name} | {found['tries']} | {found['survived']} |" for name, found in faults.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.main(main)
