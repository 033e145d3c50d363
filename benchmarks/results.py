"""Where the figures go: ``results/benchmarks/NAME.json`` and, where there is a table, the README."""

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

from experiments import markdown
from lsg_jax import cache
from lsg_jax.training import parallel

_README = Path("README.md")


def write(name: str, measured: dict[str, Any], table: str | None = None) -> None:
    """Writes what was measured, where and of what, and its Markdown table into the README's part marked ``name``."""
    file = Path("results/benchmarks", f"{name}.json")
    content = json.dumps({"revision": revision(), "machine": _machine()} | measured, indent=2) + "\n"
    cache.publish(file, lambda temporary: temporary.write_text(content))
    if table is not None:
        page = markdown.insert(_README.read_text(), name, table)
        cache.publish(_README, lambda temporary: temporary.write_text(page))
    print(f"{file} written" if table is None else f"{file} and {_README} written")


def read(name: str) -> dict[str, Any] | None:
    """Returns what was measured before, None where nothing was."""
    file = Path("results/benchmarks", f"{name}.json")
    return json.loads(file.read_text()) if file.is_file() else None


def require_part(name: str) -> None:
    """Raises ValueError, before anything is measured, where the README here has no part for the table ``name``."""
    if not _README.is_file():
        raise ValueError("there is no README.md here; run this in the project's folder")
    markdown.insert(_README.read_text(), name, "")


def revision() -> str:
    """Returns the revision of the project, with a mark where files differ from it."""
    described = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True)
    return described.stdout.strip() or "unknown"


def _machine() -> dict[str, Any]:
    device = jax.devices()[0].device_kind
    return {"cores": parallel.cores(), "device": device, "python": platform.python_version(), "jax": jax.__version__}
