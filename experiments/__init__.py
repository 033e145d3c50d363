"""The commands, one file each: arguments, defaults and calls."""

import atexit
import contextlib
import os
import signal
import sys

_HUGE_PAGES, _ARENAS = "glibc.malloc.hugetlb", "glibc.malloc.arena_max"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def malloc_environment(huge_pages: bool = True) -> dict[str, str]:
    """Returns the environment in which glibc, as a process starts, puts large arrays on huge pages or does not.

    Linux commonly gives them only to those who ask. In it freed memory is kept in two arenas instead of eight a core,
    since what threads free in each of many is held back, more and more of it. Where the C library is another, it makes
    no difference.
    """
    tunables = {_ARENAS: 2, _HUGE_PAGES: int(huge_pages)}
    given = os.environ.get("GLIBC_TUNABLES", "").split(":")
    others = [each for each in given if each and each.partition("=")[0] not in tunables]
    return os.environ | {"GLIBC_TUNABLES": ":".join([*others, *(f"{name}={n}" for name, n in tunables.items())])}


def _with_tuned_malloc() -> None:
    """Starts this command once more, so tuned; signals wait meanwhile, and are heeded by the handlers below."""
    if _HUGE_PAGES in os.environ.get("GLIBC_TUNABLES", "") or "tuned_malloc" in sys._xoptions:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with contextlib.suppress(OSError):  # then without
        os.execve(sys.executable, [sys.executable, "-X", "tuned_malloc", *sys.orig_argv[1:]], malloc_environment())


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
        _with_tuned_malloc()
    for each in _SIGNALS:
        signal.signal(each, _leave)
    atexit.register(_ignore_signals)  # the command has ended, and Python, which takes a second to, ends with its status
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
