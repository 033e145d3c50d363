"""The loop of a worker: one task, prepared and warmed up, which then runs once for every line read."""

import json
import resource
import sys
import time
from typing import Any


def serve(tasks: dict[str, Any], order: dict[str, Any], version: str) -> None:
    """Prepares ``order['task']``, tells ``version`` once it is warm, then the seconds and peak memory of each run."""
    run = tasks[order["task"]](**order["arguments"])
    for _ in range(order["warmup"]):
        run()
    print(json.dumps({"version": version}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        run()
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": seconds, "peak_bytes": peak}), flush=True)
