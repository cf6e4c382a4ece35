"""From kernels in `func.func` form to host objects with a native entry, through upstream passes and llvmlite."""

from mlirfuse.lowering.host.compile import HostObject, compile_host

__all__ = ["HostObject", "compile_host"]
