"""Where derived files are kept between commands: decoded data, compiled kernels, compiled programs."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def folder() -> Path:
    """Returns the user's cache folder for this project, ``$XDG_CACHE_HOME/lsg_jax`` or ``~/.cache/lsg_jax``."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "lsg_jax"


def publish(file: Path, write: Callable[[Path], object]) -> None:
    """Has ``write`` fill a temporary file that then becomes ``file`` in one rename: others see all of it or none.

    Raises:
      OSError: where the folder cannot be written; ``file`` is as it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=file.stem, suffix=".tmp")
    os.close(handle)
    try:
        write(Path(name))
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise
