"""The commands, one file each: arguments, defaults and calls."""

import os
import signal
import sys


def _leave(number: int, _: object) -> None:
    os.write(2, b"stopped; what was saved is kept\n")
    os._exit(128 + number)


# While Python looks for the module of ``python -m experiments.NAME``, argv[0] is "-m". A signal that comes while the
# libraries are imported or the run is set up would otherwise end in a traceback, or be swallowed by a library.
if sys.argv[0] == "-m":
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _leave)
