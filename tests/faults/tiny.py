"""``experiments.digits`` with a network of one convolution: ``python -m tests.faults.tiny``, options as usual."""

from typing import Any

from experiments import cli, digits
from lsg_jax import models
from lsg_jax.training import loop, parallel
from tests.conftest import Tiny, without_times

models.MODELS["tiny"] = Tiny


def fit(*arguments: Any) -> list[dict[str, Any]]:
    """Trains. Raises ValueError, in each process, where they did not all measure the same."""
    history = loop.fit(*arguments)
    parallel.check_same({"history": without_times(history)})
    return history


cli.fit = fit

if __name__ == "__main__":
    cli.main(lambda: cli.train(digits.DEFAULT, "A tiny run."))
