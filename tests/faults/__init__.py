"""Faults that training has to survive, tried at random moments: ``make test-faults``."""
