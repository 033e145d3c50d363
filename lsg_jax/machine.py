"""What this process may use, and what it runs with."""

import os
from importlib import metadata


def cores() -> int:
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def version(package: str) -> str | None:
    """Returns the version of an installed package, None of one that is only on Python's path."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
