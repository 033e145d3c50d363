"""``experiments.digits`` with a network of one convolution: ``python -m tests.faults.tiny``, options as usual."""

from experiments import cli, digits
from lsg_jax import models
from tests.conftest import Tiny

models.MODELS["tiny"] = Tiny

if __name__ == "__main__":
    cli.main(lambda: cli.train(digits.DEFAULT, "A tiny run."))
