"""``python -m tests.faults``: tries every fault many times and writes ``results/reliability.json``; it resumes."""

import json
import os
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from experiments import cli, summarize
from lsg_jax import cache
from tests.faults.faults import FAULTS

RESULTS = Path("results/reliability.json")


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
        fault, failures = FAULTS[name], []
        for seed in tqdm(range(fault.tries), name, leave=False, disable=None):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    fault.survive(np.random.default_rng(seed), Path(folder) / "run")
                except AssertionError as error:
                    failures.append({"seed": seed, "what": str(error)[:500]})
        _record(name, {"tries": fault.tries, "survived": fault.tries - len(failures), "failures": failures})
        print(f"{name}: {fault.tries - len(failures)} of {fault.tries}", flush=True)


def _record(name: str, found: dict[str, Any]) -> None:
    before = json.loads(RESULTS.read_text())["faults"] if RESULTS.is_file() else {}
    content = {
        "command": "python -m tests.faults",
        "versions": summarize.versions(),
        "faults": {each: found if each == name else before[each] for each in FAULTS if each == name or each in before},
    }
    cache.publish(RESULTS, partial(Path.write_text, data=json.dumps(content, indent=1) + "\n"))


if __name__ == "__main__":
    cli.main(main)
