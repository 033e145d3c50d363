"""The commands, one file each: arguments, defaults and calls."""

import os
import signal
import sys

HUGE_PAGES = "glibc.malloc.hugetlb"


def environment(huge_pages: bool = True) -> dict[str, str]:
    """Returns the environment in which glibc, as a process starts, puts large arrays on huge pages or does not.

    Linux commonly gives them only to those who ask, and training's arrays, a few hundred MB that are written anew every
    few steps, are slower on small ones (README, "Speed"). Where the C library is another, it makes no difference.
    """
    others = [each for each in os.environ.get("GLIBC_TUNABLES", "").split(":") if each and HUGE_PAGES not in each]
    return os.environ | {"GLIBC_TUNABLES": ":".join([*others, f"{HUGE_PAGES}={int(huge_pages)}"])}


def _leave(number: int, _: object) -> None:
    os.write(2, b"stopped; what was saved is kept\n")
    os._exit(128 + number)


# While Python looks for the module of ``python -m experiments.NAME``, argv[0] is "-m". A signal that comes while the
# libraries are imported or the run is set up would otherwise end in a traceback, or be swallowed by a library.
if sys.argv[0] == "-m":
    if sys.platform == "linux" and HUGE_PAGES not in os.environ.get("GLIBC_TUNABLES", ""):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment())
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _leave)
