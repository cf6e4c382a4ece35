"""Which threads of a block exchange values without memory, asked of the GPU itself.

Drivers tell of a range of subgroup sizes, or of none, and not which threads a subgroup has. What shaders rely on is
tried out: thread t and thread t xor d find each other for every power of two d below the promised number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import wgpu

from mlirfuse.errors import UnsupportedTarget

__all__ = ["check_lanes", "neighbouring_lanes"]

_THREADS = 64
_SHADER = """
@group(0) @binding(0) var<storage, read_write> found: array<u32>;

@compute @workgroup_size({threads})
fn main(@builtin(local_invocation_index) t: u32) {{
{lines}
}}
"""


def check_lanes(device: Any, wanted: int) -> None:
    """UnsupportedTarget unless `wanted` neighbouring threads exchange values; 0 and 1 always do."""
    if wanted > 1 and (found := neighbouring_lanes(device, wanted)) < wanted:
        raise UnsupportedTarget(
            f"The kernels exchange values among {wanted} neighbouring threads, and on this GPU {found} can; "
            f"compile for vulkan:portable."
        )


def neighbouring_lanes(device: Any, most: int) -> int:
    """The neighbouring threads that exchange values on this device: a power of two up to `most`."""
    distances = [1 << i for i in range((most - 1).bit_length())]
    lines = "\n".join(f"  found[{i * _THREADS}u + t] = subgroupShuffleXor(t, {d}u);" for i, d in enumerate(distances))
    code = _SHADER.format(threads=_THREADS, lines=lines)
    pipeline = device.create_compute_pipeline(
        layout="auto", compute={"module": device.create_shader_module(code=code), "entry_point": "main"}
    )
    size = 4 * _THREADS * len(distances)
    buffer = device.create_buffer(size=size, usage=wgpu.BufferUsage.STORAGE | wgpu.BufferUsage.COPY_SRC)
    entries = [{"binding": 0, "resource": {"buffer": buffer, "offset": 0, "size": size}}]
    encoder = device.create_command_encoder()
    compute = encoder.begin_compute_pass()
    compute.set_pipeline(pipeline)
    compute.set_bind_group(0, device.create_bind_group(layout=pipeline.get_bind_group_layout(0), entries=entries))
    compute.dispatch_workgroups(1)
    compute.end()
    device.queue.submit([encoder.finish()])
    found = np.frombuffer(device.queue.read_buffer(buffer), np.uint32).reshape(len(distances), _THREADS)
    met = [bool((row == np.arange(_THREADS) ^ d).all()) for row, d in zip(found, distances, strict=True)]
    return 1 << (met.index(False) if False in met else len(met))
