"""``python -m tests.faults``: tries every fault many times. What was tried is kept; stopped, it goes on.

Writes ``results/reliability.json`` and the table in ``docs/run-folder.md``; remove the first to try all again.
"""

import json
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks import results
from experiments import cli, markdown
from lsg_jax import files
from lsg_jax.run import environment
from tests.faults.faults import FAULTS, Fault, end_all, whole

RESULTS, PAGE = Path("results/reliability.json"), Path("docs/run-folder.md")


@dataclass(frozen=True)
class Options:
    """Which faults to try."""

    only: tuple[str, ...] = ()
    """Their names (default: all that may be tried: only root can mount a small disk)."""


def main() -> None:
    options = cli.parse(Options, __doc__ or "")
    mine = [name for name in FAULTS if os.geteuid() == 0 or "root only" not in name]
    if unknown := set(options.only) - set(mine):
        raise ValueError(f"--only cannot be {sorted(unknown)[0]!r}; choose among: {', '.join(mine)}")
    for each in (signal.SIGINT, signal.SIGTERM):  # what was mounted and started is ended first
        signal.signal(each, lambda number, _: sys.exit(128 + number))
    whole()  # before the first that it is compared with begins
    revision = results.revision(*(f":!{each}" for each in (RESULTS, PAGE)))
    for name in options.only or mine:
        found = read().get(name, new())
        for seed in tqdm(range(found["tries"], FAULTS[name].tries), name, leave=False, disable=None):
            hit, failure = attempt(FAULTS[name], seed)
            if failure:
                found["failures"].append({"seed": seed, "what": failure})
            else:
                found["survived"] += 1
                found["hits"][hit] = found["hits"].get(hit, 0) + 1
            found["tries"] = seed + 1
            found["revisions"] = sorted({*found["revisions"], revision})
            found["environments"] += [each for each in [environment()] if each not in found["environments"]]
            found["last_tried"] = datetime.now(UTC).date().isoformat()
            write(name, found)
        print(f"{name}: {found['survived']} of {found['tries']}", flush=True)
    if any(found["failures"] for found in read().values()):
        sys.exit(1)


def attempt(fault: Fault, seed: int) -> tuple[str, str]:
    """Returns what the fault hit, and why it was not survived, '' where it was."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            return fault.survive(np.random.default_rng(seed), Path(folder) / "run"), ""
        except Exception as error:  # a run that cannot be opened, a process that hangs, ...
            return "", f"{type(error).__name__}: {error}"[:500]
        finally:
            end_all()


def new() -> dict[str, Any]:
    """Returns what was found of a fault that was not tried."""
    return {"tries": 0, "survived": 0, "hits": {}, "failures": [], "revisions": [], "environments": []}


def read() -> dict[str, dict[str, Any]]:
    """Returns what was found of each fault so far."""
    content = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else {"faults": {}}
    for found in content["faults"].values():
        found.setdefault("environments", [content.get("environment")])  # once one was kept for all
    return content["faults"]


def write(name: str, found: dict[str, Any]) -> None:
    """Keeps what was found of a fault, and shows it."""
    every = read() | {name: found}
    content = {
        "command": "python -m tests.faults",
        "faults": {each: every[each] for each in FAULTS if each in every},
    }
    files.publish_text(RESULTS, json.dumps(content, indent=1) + "\n")
    page = markdown.insert(PAGE.read_text("utf-8"), "reliability", table(content["faults"]))
    files.publish_text(PAGE, page)


def table(faults: dict[str, dict[str, Any]]) -> str:
    """Returns the Markdown table."""
    rows = (
        (name, str(found["tries"]), str(found["survived"]), _hits(found["hits"]), ", ".join(found["revisions"]))
        for name, found in faults.items()
    )
    return markdown.table(("fault", "tries", "survived", "what it hit", "at"), rows)


def _hits(hits: dict[str, int]) -> str:
    """Returns the hits in words, the most frequent first; where there are many, how many different ones."""
    if len(hits) > 5:
        return f"{len(hits)} different places"
    return ", ".join(f"{hit} ({count})" for hit, count in sorted(hits.items(), key=lambda pair: -pair[1]) if hit)


if __name__ == "__main__":
    cli.main(main)
