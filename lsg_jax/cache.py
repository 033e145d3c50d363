"""Where derived files are kept between commands."""

import hashlib
import os
import platform
from pathlib import Path


def folder() -> Path:
    """Returns the user's cache folder for this project, ``$XDG_CACHE_HOME/lsg_jax`` or ``~/.cache/lsg_jax``."""
    chosen = Path(os.environ.get("XDG_CACHE_HOME", "")).expanduser()  # XDG: what is not absolute does not count
    return (chosen if chosen.is_absolute() else Path("~/.cache").expanduser()) / "lsg_jax"


def processor() -> str:
    """Returns a name of this processor's instruction set: what is compiled for one must not run on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        described = next(line for line in lines if line.lower().startswith(("flags", "features")))
    except (OSError, StopIteration):
        described = platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(described.encode()).hexdigest()[:8]}"
