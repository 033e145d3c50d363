"""Where the figures go: ``results/benchmarks/NAME.json`` and, where there is a table, the README."""

import json
from pathlib import Path
from typing import Any

from experiments import summarize
from lsg_jax import cache


def write(name: str, measured: dict[str, Any], table: str | None = None) -> None:
    """Writes what was measured, and its Markdown table into the part of the README marked ``name``."""
    file, readme = Path("results/benchmarks", f"{name}.json"), Path("README.md")
    cache.publish(file, lambda temporary: temporary.write_text(json.dumps(measured, indent=2) + "\n"))
    if table is not None:
        readme.write_text(summarize.insert(readme.read_text(), name, table))
    print(f"{file} written" if table is None else f"{file} and {readme} written")
