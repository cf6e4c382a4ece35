"""Emit tile programs as gpu.func kernels: affine loops over global, workgroup and register values."""
