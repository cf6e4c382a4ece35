"""Fusion groups as frozen data, and what follows from their indexing: where elements go, what tiles need of them."""
