"""A network small enough to be followed by hand, known to every test as ``tiny``."""

import flax.linen as nn
import jax
import pytest

from lsg_jax import models
from lsg_jax.models.network import Conv, GatedNetwork
from lsg_jax.models.normalization import BatchNorm


class Tiny(GatedNetwork):
    """One convolution with 4 filters."""

    num_filters = 4
    last_convolution = ("conv",)

    def setup(self):
        self.conv = Conv(4)
        self.norm = BatchNorm(self.batch_axis)
        self.classifier = nn.Dense(self.num_classes)

    def feature_maps(self, images, train=False):
        return nn.relu(self.norm(self.conv(images), train))


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Forgets compiled programs: a process that holds those of all tests runs out of memory maps, and crashes."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True, scope="session")
def tiny_model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.MODELS, "tiny", Tiny)
        yield
