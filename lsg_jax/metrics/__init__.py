"""Measures of a classifier, of its gate, and of how class-specific its filters are."""

from lsg_jax.metrics.ambiguity import Phi, phi, phi_by_training
from lsg_jax.metrics.classification import accuracy, sums
from lsg_jax.metrics.correlation import filter_correlation, inter_class_correlation
from lsg_jax.metrics.information import mutual_information, mutual_information_score

__all__ = [
    "Phi",
    "accuracy",
    "filter_correlation",
    "inter_class_correlation",
    "mutual_information",
    "mutual_information_score",
    "phi",
    "phi_by_training",
    "sums",
]
