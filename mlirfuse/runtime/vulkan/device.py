"""Choosing and opening a GPU through wgpu, with what a plan needs of it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import wgpu
from wgpu.backends.wgpu_native import extras

from mlirfuse.errors import MlirfuseError, UnsupportedTarget
from mlirfuse.options import leave_display_alone

__all__ = ["MAPPABLE", "adapters", "explained", "make_pipeline", "open_device"]

# SPIR-V's capabilities, and what WebGPU calls the feature that brings them; None where no feature is needed.
_FEATURES: dict[str, str | None] = {
    "Int64": "shader-int64",
    "Int16": "shader-i16",
    "Float16": "shader-f16",
    "Float64": "shader-f64",
    "StorageBuffer16BitAccess": "shader-f16",
    "GroupNonUniform": "subgroup",
    "GroupNonUniformShuffle": "subgroup",
}
MAPPABLE = "mappable-primary-buffers"  # the host reads and writes buffers that shaders bind
_HOST_MEMORY = ("IntegratedGPU", "CPU")  # kinds of adapters whose memory is the host's
_LIMITS = (
    "max-buffer-size",
    "max-storage-buffer-binding-size",
    "max-storage-buffers-per-shader-stage",
    "max-compute-workgroup-storage-size",
    "max-compute-invocations-per-workgroup",
    "max-compute-workgroup-size-x",
)


@functools.cache
def adapters() -> tuple[Any, ...]:
    """The GPUs that a native driver (Vulkan, Metal or Direct3D 12) offers, hardware before software."""
    leave_display_alone()
    extras.set_instance_extras(backends=["Vulkan", "Metal", "DX12"])
    found = wgpu.gpu.enumerate_adapters_sync()
    native = [a for a in found if a.info["backend_type"] in ("Vulkan", "Metal", "D3D12")]
    return tuple(sorted(native, key=lambda a: a.info["adapter_type"] == "CPU"))


def open_device(chosen: int | str | None, capabilities: Sequence[str]) -> Any:
    """The device of the first GPU, of number `chosen`, or of the first whose name contains it.

    UnsupportedTarget if there is none, or it lacks what shaders with these SPIR-V `capabilities` need.
    """
    adapter = _adapter(chosen)
    name = adapter.info["device"]
    needed = {_FEATURES[c] for c in capabilities if c in _FEATURES}
    missing = sorted({c for c in capabilities if c not in _FEATURES or (_FEATURES[c] or "") not in adapter.features})
    if missing:
        raise UnsupportedTarget(
            f"The GPU '{name}' cannot run this network: its kernels need {', '.join(missing)} of SPIR-V, and the "
            f"driver does not have it. Choose another GPU, or compile for the CPU."
        )
    useful = {"timestamp-query"} | ({MAPPABLE} if adapter.info["adapter_type"] in _HOST_MEMORY else set())
    wanted = {f for f in needed if f} | (useful & set(adapter.features))
    limits = {limit: adapter.limits[limit] for limit in _LIMITS if limit in adapter.limits}
    with explained(f"opening the GPU '{name}'"):
        return adapter.request_device_sync(required_features=sorted(wanted), required_limits=limits)


def _adapter(chosen: int | str | None) -> Any:
    found = adapters()
    names = "; ".join(f"{i}: {a.info['device']}" for i, a in enumerate(found))
    if not found:
        raise UnsupportedTarget(
            "No GPU with a Vulkan driver was found here. Install the driver of your GPU's vendor, or a software one "
            "(mesa-vulkan-drivers on Debian), or compile for the CPU."
        )
    if chosen is None:
        return found[0]
    if isinstance(chosen, int) and not isinstance(chosen, bool) and 0 <= chosen < len(found):
        return found[chosen]
    matching = [a for a in found if isinstance(chosen, str) and chosen.lower() in a.info["device"].lower()]
    if not matching:
        raise UnsupportedTarget(f"There is no GPU {chosen!r} for Vulkan here; there are {names}.")
    return matching[0]


@contextlib.contextmanager
def explained(doing: str) -> Iterator[None]:
    """Errors of the driver as one paragraph that says what was going on."""
    try:
        yield
    except wgpu.GPUError as error:
        raise MlirfuseError(f"The Vulkan driver failed while {doing}: {' '.join(str(error).split())}") from error


def make_pipeline(device: Any, entry: str, code: bytes, buffers: int) -> Any:
    """A compute pipeline of a SPIR-V module whose entry point binds `buffers`, read or not."""
    storage = {"visibility": wgpu.ShaderStage.COMPUTE, "buffer": {"type": "storage"}}
    with explained(f"compiling {entry}"):
        module = device.create_shader_module(code=code)
        layout = device.create_bind_group_layout(entries=[{"binding": i, **storage} for i in range(buffers)])
        return device.create_compute_pipeline(
            layout=device.create_pipeline_layout(bind_group_layouts=[layout]),
            compute={"module": module, "entry_point": entry},
        )
