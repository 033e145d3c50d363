"""The commands, one file each: arguments, defaults and calls."""

import atexit
import contextlib
import os
import signal
import sys

_HUGE_PAGES = "glibc.malloc.hugetlb"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def huge_pages_environment(wanted: bool = True) -> dict[str, str]:
    """Returns the environment in which glibc, as a process starts, puts large arrays on huge pages or does not.

    Linux commonly gives them only to those who ask. Where the C library is another, it makes no difference.
    """
    others = [each for each in os.environ.get("GLIBC_TUNABLES", "").split(":") if each and _HUGE_PAGES not in each]
    return os.environ | {"GLIBC_TUNABLES": ":".join([*others, f"{_HUGE_PAGES}={int(wanted)}"])}


def _with_huge_pages() -> None:
    """Starts this command once more, with huge pages; signals wait meanwhile, and are heeded by the handlers below."""
    if _HUGE_PAGES in os.environ.get("GLIBC_TUNABLES", "") or "huge_pages" in sys._xoptions:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with contextlib.suppress(OSError):  # then without them
        os.execve(sys.executable, [sys.executable, "-X", "huge_pages", *sys.orig_argv[1:]], huge_pages_environment())


def _ignore_signals() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, _: object) -> None:
    os.write(2, b"stopped; what was saved is kept\n")
    os._exit(128 + number)


# While Python looks for the module of ``python -m experiments.NAME``, argv[0] is "-m". A signal that comes while the
# libraries are imported or the run is set up would otherwise end in a traceback, or be swallowed by a library.
if sys.argv[0] == "-m":
    if sys.platform == "linux":
        _with_huge_pages()
    for each in _SIGNALS:
        signal.signal(each, _leave)
    atexit.register(_ignore_signals)  # the command has ended, and Python, which takes a second to, ends with its status
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
