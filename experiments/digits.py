"""LSG training on scikit-learn's 1,797 real digits, brought to 16x16: no download, a minute on 2 cores."""

from experiments import cli
from lsg_jax.config import Config, DataConfig, OptimizerConfig, OutputConfig

DEFAULT = Config(
    data=DataConfig(dataset="digits"),
    optimizer=OptimizerConfig(epochs=60, batch_size=64),
    run=OutputConfig(checkpoint_every=10),
)

if __name__ == "__main__":
    cli.main(lambda: cli.train(DEFAULT, __doc__ or ""))
