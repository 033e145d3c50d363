"""Some of the faults, once; all of them many times by ``make test-faults``."""

import numpy as np
import pytest

from tests.faults.faults import FAULTS


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "a bit of the newest checkpoint flipped", "no room for files"])
def test_training_survives(name, tmp_path):
    FAULTS[name].survive(np.random.default_rng(1000), tmp_path / "run")
