"""Kernels executed by a Vulkan driver on NumPy buffers, with nothing of the runtime between: `launch_shader`."""

import dataclasses
import importlib.util

import numpy as np
import pytest
from group_builder import to_memory

from mlirfuse.compiler import compile_artifact
from mlirfuse.device import PORTABLE, device_for
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.schedule.simt_choice import choose_schedule
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.lowering.spirv.shader import make_shader
from mlirfuse.mlir import context
from mlirfuse.simulator import Kernel

WGPU = importlib.util.find_spec("wgpu") is not None


def why_absent():
    """Why no kernel can be run here, with the command that mends it; empty if it can."""
    if not WGPU:
        return "wgpu is not installed: pip install wgpu"
    from mlirfuse.runtime.vulkan.device import adapters

    return "" if adapters() else "there is no Vulkan driver: apt-get install mesa-vulkan-drivers"


needs_vulkan = pytest.mark.skipif(bool(why_absent()), reason=why_absent())
DIGITS = {"float16": 2.0**-10, "bfloat16": 2.0**-7}  # drivers may round float16 towards zero
_opened = {}


def opened(capabilities):
    """A device with what `capabilities` need, kept for the next kernel."""
    from mlirfuse.runtime.vulkan.device import open_device

    if capabilities not in _opened:
        _opened[capabilities] = open_device(None, capabilities)
    return _opened[capabilities]


def lanes_here(most=32):
    """The neighbouring threads that exchange values without memory on this driver, a power of two; 1 if none do."""
    from mlirfuse.errors import UnsupportedTarget
    from mlirfuse.runtime.vulkan.lanes import neighbouring_lanes

    try:
        return neighbouring_lanes(opened(("GroupNonUniformShuffle",)), most)
    except UnsupportedTarget:
        return 1


def device_here(name):
    """A device of the table with no more memory in a block than this driver has."""
    device = device_for(name)
    limits = opened(()).limits
    memory = limits["max-compute-workgroup-storage-size"] - device.shared_bytes_reserved
    return dataclasses.replace(device, shared_bytes_per_block=min(device.shared_bytes_per_block, memory))


def launch_shader(text, buffers, subgroup=0, halves=True):
    """Run the one kernel of `text`; the buffers hold afterwards what the kernel left in them.

    So many neighbouring threads exchange values without memory; with `halves`, buffers of float16 are used as such.
    """
    import wgpu

    from mlirfuse.runtime.vulkan.device import make_pipeline

    with context():
        shader = make_shader(text, subgroup, halves)
    device = opened(shader.capabilities)
    usage = wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC | wgpu.BufferUsage.COPY_DST
    entries, made = [], []
    for binding, array in enumerate(buffers):
        data = np.zeros(-(-max(array.nbytes, 1) // 4) * 4, np.uint8)
        data[: array.nbytes] = array.reshape(-1).view(np.uint8)
        buffer = device.create_buffer_with_data(data=data, usage=usage)
        entries.append({"binding": binding, "resource": {"buffer": buffer, "offset": 0, "size": data.size}})
        made.append(buffer)
    pipeline = make_pipeline(device, shader.entry, shader.spirv, len(buffers))
    encoder = device.create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(pipeline)
    compute.set_bind_group(0, device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries))
    compute.dispatch_workgroups(*shader.grid)
    compute.end()
    device.queue.submit([encoder.finish()])
    for array, buffer in zip(buffers, made, strict=True):
        found = np.frombuffer(device.queue.read_buffer(buffer), np.uint8)[: array.nbytes]
        array.reshape(-1).view(np.uint8)[:] = found
        buffer.destroy()


def compiled_here(model, target="vulkan", **settings):
    """An artifact made in this process: starting others takes longer than compiling a small network."""
    return compile_artifact(model, target, workers=1, isolated=False, **settings)


def run_group(group, operands, schedule=None, device=None, subgroup=0):
    """The outputs of a group's kernel, by the schedule that is chosen for any GPU if none is given.

    The simulator gives the same for the same text, but for the digits that differ between them.
    """
    device = device or device_for(PORTABLE)
    schedule = schedule or choose_schedule(group, device)
    assert schedule.why_illegal(group, device) is None, schedule.why_illegal(group, device)
    program = tile_program(group, schedule)
    with context():
        text = str(emit_kernel(program, "kernel"))
    buffers = [to_memory(a, group.types[v]) for a, v in zip(operands, group.inputs, strict=True)]
    outputs = [to_memory(np.zeros(group.types[v].dims), group.types[v]) for v in group.outputs]
    launch_shader(text, [*buffers, *outputs], subgroup, device.stores_halves)
    simulated = [np.zeros_like(o) for o in outputs]
    kernel = Kernel.from_text(text, "kernel")
    kernel.launch(program.tiles, (program.workers, 1, 1), list(map(signless, [*buffers, *simulated])), mode="check")
    for made, found in zip(outputs, simulated, strict=True):
        assert_alike(made, found)
    return [in_order(o, group.types[v]) for o, v in zip(outputs, group.outputs, strict=True)]


def signless(array):
    """Integers as kernels name their types."""
    return array.view(f"i{array.itemsize}") if array.dtype.kind == "u" else array


def assert_alike(made, found):
    """Two buffers are the same: integers exactly, floats but for a few units in the last place of the largest."""
    if made.dtype.kind in "iub":
        np.testing.assert_array_equal(made, found)
        return
    made, found, digits = made.astype(np.float64), found.astype(np.float64), DIGITS.get(made.dtype.name, 2.0**-17)
    largest = np.abs(found, where=np.isfinite(found), out=np.ones_like(found)).max(initial=1.0)
    np.testing.assert_allclose(made, found, rtol=0, atol=digits * largest)


def in_order(flat, t):
    """An array in its logical shape, from the order of its memory."""
    if t.layout is None:
        return flat.reshape(t.dims)
    return flat.reshape([t.dims[axis] for axis in t.layout]).transpose(np.argsort(t.layout))
