"""From kernels in `gpu.func` form to PTX for one chip, through upstream passes and llvmlite."""
