"""Runs CUDA plans through the driver API alone: PTX or cubin, no CUDA toolkit, importable without a driver."""

from mlirfuse.runtime.cuda.device_array import DeviceArray
from mlirfuse.runtime.cuda.executor import CudaExecutor

__all__ = ["CudaExecutor", "DeviceArray"]
