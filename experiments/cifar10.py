"""LSG training on CIFAR-10 as in the paper: ResNet-20, batch 256, 150 epochs, learning rate 0.1; hours on a CPU."""

from experiments import cli
from lsg_jax.config import Config

DEFAULT = Config()

if __name__ == "__main__":
    cli.main(lambda: cli.train(DEFAULT, __doc__ or ""))
