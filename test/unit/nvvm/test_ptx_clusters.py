"""Thread-block clusters in PTX: peers' memory by mapa, barriers of the cluster, and chips that have none."""

import re

import gpu_kernels
import numpy as np
import pytest

from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.codegen.kernel_text import split_kernels
from mlirfuse.lowering.nvvm import compile_kernels, ptxas
from mlirfuse.lowering.spirv.compile import compile_shaders
from mlirfuse.mlir import context, ir
from mlirfuse.simulator import Kernel

EXCHANGE = gpu_kernels.cluster_exchange("k")
MEMORY = re.compile(r"^\s+((?:ld|st|barrier|bar)\.[\w.:]+)", re.MULTILINE)
BARRIER = ["barrier.cluster.arrive.aligned", "barrier.cluster.wait.aligned"]  # release and acquire by default


@pytest.mark.parametrize("rows", [8, 64])
@pytest.mark.parametrize("chip", ["sm_90", "sm_90a", "sm_120"])
def test_peers_are_reached_between_barriers(chip, rows):
    """LLVM keeps every access on its side of the barriers, and vectors whole."""
    text = gpu_kernels.cluster_exchange("k", rows)
    kernel = compile_kernels({"k": text}, chip, isolated=False)["k"]
    found = [op for op in MEMORY.findall(kernel.ptx) if not op.startswith("ld.param")]
    vectors = (".v4.b32", ".v2.b64")
    whole = [next((op.removesuffix(v) for v in vectors if op.endswith(v)), op) for op in found]
    assert whole == [
        *("ld.global.nc", "st.shared", *BARRIER, "ld.shared::cluster", "st.shared::cluster"),
        *(*BARRIER, "ld.shared", "st.global"),
    ]
    assert all(op.endswith(vectors) for op in found if "barrier" not in op)
    assert kernel.ptx.count("mapa.shared::cluster.u32") == 2
    assert ".reqnctapercluster 4, 1, 1" in kernel.ptx
    size = 2 * rows * 128 * 4
    sizes = (size, 0) if rows == 8 else (0, size)  # beyond 48 KiB it becomes dynamic, peers' as well
    assert (kernel.shared_bytes, kernel.dynamic_shared_bytes) == sizes
    if ptxas.available():
        assert (kernel.spill_bytes, kernel.warnings) == (0, ())


def started(text, then):
    """The memory operations of `EXCHANGE` with a barrier at its start, and `then` in place of the next one."""
    start, sync = "%r = gpu.cluster_block_id x", "gpu.barrier scope <cluster>"
    text = text.replace(sync, then, 1).replace(start, f"{start}\n      {sync}")
    return MEMORY.findall(compile_kernels({"k": text}, "sm_90", assemble=False, isolated=False)["k"].ptx)[2:]


def test_the_first_barrier_is_waited_for_where_others_are_reached():
    """Nothing is written before it, so that it releases nothing; in a loop that is not known."""
    relaxed = "barrier.cluster.arrive.relaxed.aligned"
    first = started(EXCHANGE, "gpu.barrier")[:6]
    assert [op.split(".v4")[0] for op in first] == [
        *(relaxed, "ld.global.nc", "st.shared", "bar.sync", BARRIER[1], "ld.shared::cluster")
    ]
    again = started(EXCHANGE, "gpu.barrier scope <cluster>")[:6]
    assert [op.split(".v4")[0] for op in again] == [relaxed, "ld.global.nc", "st.shared", BARRIER[1], *BARRIER]
    looped = EXCHANGE.replace("%v = ", "affine.for %i = 0 to 2 { gpu.barrier scope <cluster> }\n      %v = ", 1)
    ptx = compile_kernels({"k": looped}, "sm_90", assemble=False, isolated=False)["k"].ptx
    assert relaxed not in ptx and BARRIER[0] in ptx


def test_the_kernel_does_what_it_says():
    x, y = np.arange(1024, dtype=np.float32), np.zeros(1024, np.float32)
    Kernel.from_text(gpu_kernels.cluster_exchange("k", blocks=8), "k").launch((8,), (32,), [x, y], "check")
    assert np.array_equal(y.reshape(2, 4, 128), np.roll(x.reshape(2, 4, 128), -2, axis=1))


def test_a_cluster_survives_the_way_to_the_compiler():
    with context():
        texts = split_kernels(ir.Module.parse(EXCHANGE))
    again = compile_kernels(texts, "sm_90", assemble=False, isolated=False)["k"]
    assert again.ptx.count("reqnctapercluster 4") == 1


def test_targets_without_clusters_refuse_them():
    with pytest.raises(UnsupportedTarget, match=r"clusters, which GPUs have from sm_90 on; sm_89 has none"):
        compile_kernels({"k": EXCHANGE}, "sm_89", assemble=False, isolated=False)
    sized = EXCHANGE.replace(
        "gpu.known_cluster_size", "gpu.known_grid_size = array<i32: 4, 1, 1>, gpu.known_cluster_size"
    )
    with pytest.raises(UnsupportedTarget, match="clusters, which Vulkan does not have"):
        compile_shaders({"k": sized}, isolated=False)
