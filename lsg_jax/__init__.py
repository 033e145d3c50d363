"""Class-specific filters by Label-Sensitive Gate training, in JAX."""

from lsg_jax.checkpoint import Run, load_run

__all__ = ["Run", "load_run"]
