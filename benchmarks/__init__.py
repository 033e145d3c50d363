"""Speed, measured as ratios of two sides that take turns in one run; never asserted in a test."""

import os
import signal
import sys


def _leave(number: int, _: object) -> None:
    os.write(2, b"stopped; what was written is kept\n")
    raise SystemExit(128 + number)  # temporary folders are removed and workers waited for


# While Python looks for the module of ``python -m benchmarks.NAME``, argv[0] is "-m".
if sys.argv[0] == "-m":
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, _leave)
