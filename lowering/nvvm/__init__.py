"""From kernels in `gpu.func` form to PTX for one chip, through upstream passes and llvmlite."""

from mlirfuse.lowering.nvvm.compile import PtxKernel, compile_kernels

__all__ = ["PtxKernel", "compile_kernels"]
