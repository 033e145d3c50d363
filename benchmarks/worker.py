"""The loop of a worker: one task, prepared, which then runs once for every line read."""

import json
import sys
import time
from pathlib import Path
from typing import Any


def serve(tasks: dict[str, Any], order: dict[str, Any], version: str) -> None:
    """Prepares ``order['task']``, tells ``version``, then the seconds and peak memory of each run."""
    run = tasks[order["task"]](**order["arguments"])
    print(json.dumps({"version": version}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        run()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "peak_bytes": _peak_bytes()}), flush=True)


def _peak_bytes() -> int:
    """Returns this process's largest resident size; getrusage's may be that of the process it was forked from."""
    lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
