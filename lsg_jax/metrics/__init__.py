"""Measures of a classifier, of its gate, and of how class-specific its filters are."""

from lsg_jax.metrics.ambiguity import Phi, phi
from lsg_jax.metrics.classification import accuracy, sums
from lsg_jax.metrics.information import mutual_information, mutual_information_score

__all__ = ["Phi", "accuracy", "mutual_information", "mutual_information_score", "phi", "sums"]
