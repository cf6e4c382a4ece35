"""Executes `kernels`-stage gpu.func kernels in NumPy: the definition of what a kernel means, and its traffic counter.

A kernel is translated once to Python source, one line per operation, and cached by its text. Each
SSA value is an array over the threads of a block times a batch of blocks; divergent control flow
runs under masks. `Kernel.launch` runs a grid in one of three modes:

- `run`: values only, and the bounds of every access; the fastest.
- `check`: also races between threads (shared memory) and between blocks (global memory, and the
  shared memory of a cluster), accesses to blocks of a cluster that may not have started or may have
  ended, reads of uninitialised shared memory, and all counters.
- `count`: the same counters from addresses alone; no value is computed that no address needs.
"""

from mlirfuse.simulator.counters import Counters
from mlirfuse.simulator.fault import SimulationError
from mlirfuse.simulator.kernel import MODES, Kernel, simulate

__all__ = ["MODES", "Counters", "Kernel", "SimulationError", "simulate"]
