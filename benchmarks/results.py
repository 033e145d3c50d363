"""Where the figures go: ``results/benchmarks/NAME.json`` and, where there is a table, one of the pages."""

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

from experiments import markdown
from lsg_jax import cache, files, machine


def write(name: str, measured: dict[str, Any], table: str | None = None) -> None:
    """Writes what was measured, and its Markdown table into the part of a page marked ``name``."""
    file = Path("results/benchmarks", f"{name}.json")
    content = json.dumps(measured, indent=2) + "\n"
    files.publish_text(file, content)
    if table is not None:
        markdown.fill({name: table})
    print(f"{file} written" if table is None else f"{file} and {markdown.page_of(name)} written")


def read(name: str) -> dict[str, Any] | None:
    """Returns what was measured before, None where nothing was."""
    file = Path("results/benchmarks", f"{name}.json")
    return json.loads(file.read_text("utf-8")) if file.is_file() else None


def origin() -> dict[str, Any]:
    """Returns the revision that is measured and the machine that measures it."""
    return {
        "revision": revision(),
        "machine": {
            "cores": machine.cores(),
            "processor": cache.processor(),
            "device": jax.devices()[0].device_kind,
            "python": platform.python_version(),
            "jax": jax.__version__,
        },
    }


def revision(*paths: str) -> str:
    """Returns the revision of the project, with a mark where files differ from it, of all or of git's ``paths``."""
    described = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True).stdout.strip()
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", *paths], capture_output=True).returncode
    return f"{described}{'-dirty' if changed else ''}" if described else "unknown"
