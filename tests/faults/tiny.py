"""``experiments.digits`` with a network of one convolution: ``python -m tests.faults.tiny``, options as usual."""

import itertools
import os
import signal
from typing import Any

from experiments import cli, digits
from lsg_jax import models
from lsg_jax.checkpoint import Checkpoints
from lsg_jax.training import events, loop, parallel
from lsg_jax.training.folder import RunFolder
from tests.conftest import Tiny, without_times

WRITERS = {"metrics": (RunFolder, "_write"), "events": (events, "append"), "checkpoints": (Checkpoints, "save")}

models.MODELS["tiny"] = Tiny


def fit(*arguments: Any) -> list[dict[str, Any]]:
    """Trains. Raises ValueError, in each process, where they did not all measure the same."""
    history = loop.fit(*arguments)
    parallel.check_same({"history": without_times(history)})
    return history


def stop_before(kind: str, epoch: int) -> None:
    """Has this process stop, until it is sent SIGCONT, before it writes the files of a kind in an epoch."""
    owner, name = WRITERS[kind]
    write, epochs = getattr(owner, name), itertools.count()

    def stop_and_write(*arguments: Any, **named: Any) -> None:
        if next(epochs) == epoch:
            os.kill(os.getpid(), signal.SIGSTOP)
        write(*arguments, **named)

    setattr(owner, name, stop_and_write)


cli.fit = fit
if "STOP_BEFORE" in os.environ:
    wanted, number = os.environ["STOP_BEFORE"].split()
    stop_before(wanted, int(number))

if __name__ == "__main__":
    cli.main(lambda: cli.train(digits.DEFAULT, "A tiny run."))
