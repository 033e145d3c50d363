"""``python -m tests.sampled FILE MODULE OPTION...``: a training that notes after each epoch what its process holds."""

import json
import logging
import runpy
import sys
from collections import Counter
from pathlib import Path

from lsg_jax.training.folder import RunFolder

COMPILED = "Finished XLA compilation"  # as JAX logs it under JAX_LOG_COMPILES


class Compilations(logging.Handler):
    """Counts what JAX says it compiled."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += COMPILED in record.getMessage()


def sample(compilations: int) -> dict:
    """Returns resident KiB, file descriptors, threads by name, and compilations of this process."""
    resident = int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
    threads = Counter((task / "comm").read_text().strip() for task in Path("/proc/self/task").iterdir())
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    return {"memory": resident, "descriptors": descriptors, "threads": threads, "compilations": compilations}


def main() -> None:
    file, module, *options = sys.argv[1:]
    compiled, record = Compilations(), RunFolder.record
    logging.getLogger("jax").addHandler(compiled)

    def record_and_sample(self: RunFolder, line: dict) -> None:
        record(self, line)
        with Path(file).open("a") as stream:
            stream.write(json.dumps(sample(compiled.count)) + "\n")

    RunFolder.record = record_and_sample
    sys.argv = [module, *options]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
