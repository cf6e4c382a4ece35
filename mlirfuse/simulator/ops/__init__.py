"""The operations of the simulator, one small function each; importing this package registers them."""

from mlirfuse.simulator.ops import arith, control, gpu, index, math, memory, vector

__all__ = ["arith", "control", "gpu", "index", "math", "memory", "vector"]
