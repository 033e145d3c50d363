"""Analyses of trained networks, one module per claim of the paper."""
