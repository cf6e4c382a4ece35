"""Rewriting the graph by what operations compute, before anything is fused."""
