"""How often the host has its turn: segments of a few seconds, after which a bar moves; and a line an epoch."""

import time
from collections.abc import Generator
from typing import Any

import numpy as np
from tqdm import tqdm

from lsg_jax.training import parallel

_SECONDS_A_SEGMENT = 3.0


class Segments:
    """Cuts epochs into segments that take a few seconds each, whatever the machine, as it learns from those before."""

    def __init__(self) -> None:
        self._length = 1

    def of(self, start: int, stop: int, label: str, batch_size: int) -> Generator[tuple[int, int], None, None]:
        """Yields (start, stop) of each; closing it (``contextlib.closing``) closes the bar, however it ends."""
        with tqdm(
            total=stop * batch_size,
            initial=start * batch_size,
            desc=label,
            unit=" images",
            leave=False,
            unit_scale=True,
            disable=None if parallel.is_first() else True,
        ) as bar:
            while (rest := stop - start) > 0:
                end = start + -(-rest // -(-rest // self._length))
                began = time.perf_counter()
                yield start, end
                seconds, done = parallel.max_over_processes(time.perf_counter() - began), end - start
                bar.update(done * batch_size)
                self._length = max(1, min(4 * done, int(done * _SECONDS_A_SEGMENT / max(seconds, 1e-6))))
                start = end


def describe_line(lines: list[dict[str, Any]], epochs: int) -> str:
    """Describes an epoch by the means over the runs."""
    first = lines[0]
    mean = {name: np.mean([line[name] for line in lines]) for name in first if name != "path"}
    runs = f"{len(lines)} seeds  " if len(lines) > 1 else ""
    return (
        f"epoch {first['epoch'] + 1:{len(str(epochs))}d}/{epochs} {first['path']:5s} {runs}"
        f"lr {mean['learning_rate']:.4f}  loss {mean['train_loss']:8.4f}  accuracy {mean['test_accuracy']:.4f} "
        f"(gated by true labels {mean['lsg_test_accuracy']:.4f})  density {mean['density']:.3f}  "
        f"{len(lines) * mean['images_per_second']:.0f} images/s"
    )
