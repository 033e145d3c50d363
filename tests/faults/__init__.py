"""Faults that training has to survive, tried at random moments: ``make test-faults``."""

import experiments  # noqa: F401  # so that ``python -m tests.faults.tiny`` heeds signals from its start, as commands do
