"""Kernels for CPUs: each tile program becomes a function that computes one tile, in loops over vectors."""
