"""Files that appear whole or not at all, errors that name them, and paths as a user writes them."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """Returns a path with ~ or ~USER for the user's home. Raises ValueError on what is no path or no such user."""
    try:
        return Path(path).expanduser()
    except TypeError as error:
        raise ValueError(f"a path is needed, got {path!r}") from error
    except RuntimeError as error:
        raise ValueError(f"{path}: there is no home folder of that name") from error


def publish(file: Path, write: Callable[[Path], object]) -> None:
    """Has ``write`` fill a temporary file that then becomes ``file`` in one rename: others see all of it or none.

    Raises:
      OSError: where the folder cannot be written; ``file`` is as it was.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{secrets.token_hex(8)}.tmp")  # other hosts have the same process numbers
    try:
        with naming(file):
            write(temporary)
            os.replace(temporary, file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def publish_text(file: Path, text: str) -> None:
    """Writes ``text`` as UTF-8, as ``publish`` does. Raises OSError likewise."""
    publish(file, lambda temporary: temporary.write_text(text, "utf-8"))


def remove_leftovers(file: Path) -> None:
    """Removes what writers of ``file`` left that were killed; only for who alone may write it."""
    for leftover in file.parent.glob(f"{file.name}.{'[0-9a-f]' * 16}.tmp"):
        leftover.unlink(missing_ok=True)


@contextmanager
def naming(file: Path) -> Iterator[None]:
    """Has an OSError name ``file``: the system's own, when a write fails, name none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(file)
        raise
