"""From kernels in `func.func` form to host objects with a native entry, through upstream passes and llvmlite."""
