"""Class-specific filters by Label-Sensitive Gate training, in JAX."""

from lsg_jax.pretrained import export_torch, import_torch
from lsg_jax.run import Run, load_run, save_run

__all__ = ["Run", "export_torch", "import_torch", "load_run", "save_run"]
