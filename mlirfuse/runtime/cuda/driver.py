"""The driver API with its errors explained."""

from typing import Any

from mlirfuse.errors import MlirfuseError, UnsupportedTarget

__all__ = ["Driver"]

_DEFECT = (
    "This is a defect in a compiled kernel: please report it with the model. The GPU context of this process is lost, "
    "so restart it; the targets 'cpu' and 'simulator' can run the model meanwhile"
)
# What each error means here and what to do; the rest get the driver's own words.
_ADVICE = {
    "CUDA_ERROR_OUT_OF_MEMORY": "The GPU has too little free memory: free some, or compile for a smaller batch",
    "CUDA_ERROR_NO_DEVICE": "The driver sees no GPU: check `nvidia-smi` and CUDA_VISIBLE_DEVICES",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "The driver's library and kernel module differ: reboot after an update",
    "CUDA_ERROR_SYSTEM_NOT_READY": "A system service that the GPUs need does not run: start nvidia-fabricmanager",
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "Another process holds the GPU exclusively: end it, or choose another device",
    "CUDA_ERROR_UNSUPPORTED_PTX_VERSION": "The driver is older than the PTX: install driver 580 or later",
    "CUDA_ERROR_INVALID_PTX": "The driver's assembler refuses the PTX: compile again with this version of mlirfuse",
    "CUDA_ERROR_INVALID_IMAGE": "The code is not for this driver: compile again with this version of mlirfuse",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "The code is for another GPU: compile for this one, with target 'cuda'",
    "CUDA_ERROR_JIT_COMPILER_NOT_FOUND": "The driver lacks its PTX assembler (libnvidia-ptxjitcompiler): reinstall it",
    "CUDA_ERROR_JIT_COMPILATION_DISABLED": "Assembling PTX is switched off: unset CUDA_DISABLE_PTX_JIT",
    "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES": "A kernel asks for more registers or shared memory than the GPU has: compile "
    "for this GPU, with target 'cuda'",
    "CUDA_ERROR_LAUNCH_TIMEOUT": "A kernel ran into the time limit of a GPU that drives a display: use another GPU",
    "CUDA_ERROR_ILLEGAL_ADDRESS": _DEFECT,
    "CUDA_ERROR_MISALIGNED_ADDRESS": _DEFECT,
    "CUDA_ERROR_ILLEGAL_INSTRUCTION": _DEFECT,
    "CUDA_ERROR_INVALID_PC": _DEFECT,
    "CUDA_ERROR_INVALID_ADDRESS_SPACE": _DEFECT,
    "CUDA_ERROR_HARDWARE_STACK_ERROR": _DEFECT,
    "CUDA_ERROR_LAUNCH_FAILED": _DEFECT,
    "CUDA_ERROR_ECC_UNCORRECTABLE": "The GPU's memory is faulty: check `nvidia-smi -q`",
    "CUDA_ERROR_INVALID_DEVICE": "There is no GPU of that number: check `nvidia-smi -L` and CUDA_VISIBLE_DEVICES",
}
_CANNOT_RUN_HERE = ("CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_INVALID_DEVICE", "CUDA_ERROR_NO_BINARY_FOR_GPU")


class Driver:
    """Calls functions of `cuda.bindings.driver` by name; any status but success raises with advice."""

    def __init__(self, api: Any = None) -> None:
        self.api = _import_api() if api is None else api
        try:
            self.call("cuInit", 0)
        except RuntimeError as error:  # what the bindings raise where libcuda.so.1 cannot be loaded
            raise UnsupportedTarget(
                f"No CUDA model can run here: {error}. Expected an NVIDIA driver (580 or later); install one, or "
                f"compile for target 'cpu', or 'simulator' to run the GPU kernels in NumPy."
            ) from error

    def call(self, name: str, *arguments: Any) -> Any:
        """The function's result: None, the one value after the status, or a tuple of several."""
        status, *values = getattr(self.api, name)(*arguments)
        if status:
            raise self.error(name, status)
        return values[0] if len(values) == 1 else tuple(values) or None

    def error(self, name: str, status: Any, detail: str = "") -> MlirfuseError:
        """The exception for `status`, which `name` returned; `detail` is what else is known."""
        code = getattr(status, "name", str(status))
        words = self._words(status)
        advice = _ADVICE.get(code, "See the CUDA driver API's documentation of this error")
        kind = UnsupportedTarget if code in _CANNOT_RUN_HERE else MlirfuseError
        return kind(f"CUDA: {name} failed with {code} ({words}). {advice}.{' ' + detail.strip() if detail else ''}")

    def _words(self, status: Any) -> str:
        try:
            found, text = self.api.cuGetErrorString(status)
        except RuntimeError:
            return "no description"
        return text.decode(errors="replace") if not found and text else "no description"


def _import_api() -> Any:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise UnsupportedTarget(
            f"No CUDA model can run here: {error}. Install them with `pip install 'cuda-bindings==13.0.*'`."
        ) from error
    return driver
