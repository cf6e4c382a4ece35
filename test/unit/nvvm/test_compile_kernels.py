"""Kernels to PTX: what ptxas says of them, the cache, and crashes."""

from dataclasses import replace

import gpu_kernels
import pytest
from group_builder import GroupBuilder

from mlirfuse.device import PTX_CHIPS
from mlirfuse.errors import CompilerCrash, MlirfuseError, UnsupportedTarget
from mlirfuse.lowering.codegen.cache import KernelCache
from mlirfuse.lowering.codegen.kernel_text import split_kernels
from mlirfuse.lowering.codegen.workers import WorkerPool
from mlirfuse.lowering.gpu.emit import emit_kernel
from mlirfuse.lowering.nvvm import compile_kernels, ptxas
from mlirfuse.lowering.nvvm.ptx import PTX_VERSION
from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles
from mlirfuse.lowering.schedule.simt_choice import weight_layouts
from mlirfuse.lowering.schedule.simt_cross_layer import CrossLayerTiles
from mlirfuse.lowering.schedule.simt_program import tile_program
from mlirfuse.mlir import context, ir

needs_ptxas = pytest.mark.skipif(not ptxas.available(), reason="ptxas is not installed (pip install mlirfuse[ptxas])")
KERNELS = {
    "k0_chain": gpu_kernels.elementwise("k0_chain", ("exp", "tanh", "erf")),
    "k1_gelu": gpu_kernels.vector_gelu("k1_gelu"),
    "k2_matmul": gpu_kernels.tiled_matmul("k2_matmul"),
    "k3_conv": gpu_kernels.convolution("k3_conv"),
}
FUNCTIONS = (
    *("absf", "acos", "acosh", "asin", "asinh", "atan", "atanh", "ceil", "cos", "cosh", "erf", "exp", "exp2"),
    *("expm1", "floor", "log", "log10", "log1p", "log2", "round", "roundeven", "rsqrt", "sin", "sinh", "sqrt"),
    *("tan", "tanh", "trunc"),
)


@needs_ptxas
@pytest.mark.parametrize("chip", ["sm_80", "sm_87", "sm_90", "sm_120"])
def test_kernels_assemble_without_spills(chip):
    compiled = compile_kernels(KERNELS, chip, isolated=False)
    assert list(compiled) == list(KERNELS)
    for name, kernel in compiled.items():
        assert (kernel.name, kernel.spill_bytes, kernel.stack_bytes, kernel.warnings) == (name, 0, 0, ()), kernel
        assert f".entry {kernel.entry}(" in kernel.ptx
    assert compiled["k2_matmul"].shared_bytes == 2 * 16 * 64 * 4
    ptx = compiled["k3_conv"].ptx
    assert ptx.count("fma.rn.f32 ") + 2 * ptx.count("fma.rn.f32x2") >= 96
    assert compiled["k3_conv"].registers <= 128


def shuffled_convolutions() -> str:
    """A depth-wise convolution and two grouped ones that add to a shortcut, tile by tile, in a kernel of 248 registers.

    A thread needs 80. Asked for at most 248, ptxas 13.0 takes them all and spills 160 bytes.
    """
    b, planes, weight = GroupBuilder(), (1, 136, 28, 28), (136, 34, 1, 1)
    x, shortcut = b.input(*planes), b.input(*planes)
    pointwise = {"strides": (1, 1), "pads": (0, 0, 0, 0), "groups": 4}
    y = biased(b, b.conv(x, b.input(136, 1, 3, 3), pads=(1, 1, 1, 1), groups=136))
    y = biased(b, b.conv(y, b.input(*weight), **pointwise))
    split = b.op("unary", b.op("binary", y, shortcut, kind="add"), kind="relu")
    y = b.op("unary", biased(b, b.conv(split, b.input(*weight), **pointwise)), kind="relu")
    y = b.op("transpose", b.op("reshape", y, shape=(1, 4, 34, 28, 28)), perm=(0, 2, 1, 3, 4))
    group = b.group(split, b.op("reshape", y, shape=planes))
    product = ContractTiles(block_m=32, block_n=64, block_k=16, thread_m=4, thread_n=4, registers=248)
    schedule = CrossLayerTiles(128, (1, 34, 28, 1), (MapTiles(128), product, product))
    layouts = weight_layouts(group, schedule)
    types = tuple(replace(t, layout=layouts.get(v, t.layout)) for v, t in enumerate(group.types))
    with context():
        return str(emit_kernel(tile_program(replace(group, types=types), schedule), "shuffled"))


def biased(b: GroupBuilder, x: int) -> int:
    return b.op("binary", x, b.input(1, 136, 1, 1), constant=(False, True), kind="add")


@needs_ptxas
@pytest.mark.parametrize("chip", ["sm_80", "sm_90"])
def test_loops_are_unrolled_less_where_ptxas_would_spill(chip):
    kernel = compile_kernels({"shuffled": shuffled_convolutions()}, chip, isolated=False)["shuffled"]
    assert kernel.spill_bytes == 0 and kernel.registers <= 96
    assert '.pragma "nounroll"' in kernel.ptx


def wide_convolution() -> str:
    """A first convolution in the largest register tile: with loops unrolled by four, ptxas 13.0 spills 152 bytes."""
    b = GroupBuilder()
    y = b.conv(b.input(1, 3, 224, 224), b.input(96, 3, 7, 7), pads=(0, 0, 0, 0), strides=(2, 2))
    y = b.op("binary", y, b.input(1, 96, 1, 1), constant=(False, True), kind="add")
    group = b.group(b.op("unary", y, kind="relu"))
    product = ContractTiles(block_m=128, block_n=128, block_k=8, thread_m=8, thread_n=8, registers=128)
    types = tuple(replace(t, layout=weight_layouts(group, product).get(v, t.layout)) for v, t in enumerate(group.types))
    with context():
        return str(emit_kernel(tile_program(replace(group, types=types), product), "wide"))


@needs_ptxas
def test_loops_are_unrolled_less_still_where_that_is_not_enough():
    kernel = compile_kernels({"wide": wide_convolution()}, "sm_87", isolated=False)["wide"]
    assert kernel.spill_bytes == 0


@needs_ptxas
def test_loops_of_kernels_that_do_not_spill_are_left_alone():
    assert "nounroll" not in compile_kernels(KERNELS, "sm_90", isolated=False)["k2_matmul"].ptx


def test_the_environment_chooses_the_assembler(tmp_path, monkeypatch):
    chosen = tmp_path / "ptxas"
    chosen.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 99.1, V99.1.7'\n")
    monkeypatch.setenv("MLIRFUSE_PTXAS", str(chosen))
    with pytest.raises(MlirfuseError, match=r"MLIRFUSE_PTXAS names .* no program that can be run"):
        ptxas.available()
    chosen.chmod(0o755)
    assert ptxas.available() and ptxas.version() == "V99.1.7"


@needs_ptxas
def test_every_math_op_has_device_code():
    texts = {name: gpu_kernels.elementwise(name, (name,)) for name in FUNCTIONS}
    for kernel in compile_kernels(texts, "sm_80", isolated=False).values():
        assert kernel.spill_bytes == 0


@needs_ptxas
def test_shared_memory_beyond_the_static_limit_becomes_dynamic():
    kernel = compile_kernels({"big": gpu_kernels.tiled_matmul("big", staged=128)}, "sm_80", isolated=False)["big"]
    assert (kernel.shared_bytes, kernel.dynamic_shared_bytes) == (0, 2 * 128 * 64 * 4)
    assert ".extern .shared" in kernel.ptx


def test_equal_kernels_compile_once():
    texts = {name: gpu_kernels.vector_gelu(name) for name in ("k0_gelu", "k7_gelu")}
    compiled = compile_kernels(texts, "sm_80", assemble=False, isolated=False)
    assert compiled["k0_gelu"].entry == compiled["k7_gelu"].entry
    assert [k.name for k in compiled.values()] == ["k0_gelu", "k7_gelu"]


def test_workers_and_cache_agree_with_compiling_here(tmp_path):
    cache = KernelCache(tmp_path / "cache")
    here = compile_kernels(KERNELS, "sm_80", assemble=False, isolated=False)
    with WorkerPool(2) as pool:
        assert compile_kernels(KERNELS, "sm_80", assemble=False, cache=cache, pool=pool) == here
    # nothing is left to compile: no worker would survive being needed
    with WorkerPool(0) as pool:
        assert compile_kernels(KERNELS, "sm_80", assemble=False, cache=cache, pool=pool) == here


def test_a_damaged_cache_entry_is_ignored(tmp_path):
    cache = KernelCache(tmp_path)
    one = {"k1_gelu": KERNELS["k1_gelu"]}
    first = compile_kernels(one, "sm_80", assemble=False, cache=cache, isolated=False)
    (entry,) = (p for p in tmp_path.rglob("*") if p.is_file())
    entry.write_bytes(entry.read_bytes()[:-7])
    assert compile_kernels(one, "sm_80", assemble=False, cache=cache, isolated=False) == first
    assert cache.load(entry.parent.name + entry.name) is not None


def test_a_native_crash_names_the_kernel_and_keeps_its_input(tmp_path, monkeypatch):
    """LLVM aborts when it cannot select an instruction, here one of another machine."""
    monkeypatch.setenv("MLIRFUSE_CRASH_DIR", str(tmp_path))
    body = 'llvm.call_intrinsic "llvm.x86.sse2.pause"() : () -> ()'
    text = KERNELS["k1_gelu"].replace("gpu.return", body + "\n      gpu.return").replace("@k1_gelu", "@bad")
    with pytest.raises(CompilerCrash, match=r"compiled bad .*saved to (\S+);") as raised:
        compile_kernels(KERNELS | {"bad": text}, "sm_80", assemble=False)
    path = str(raised.value).split("saved to ")[1].split(";")[0]
    with open(path) as saved:
        assert "sse2.pause" in saved.read()


def test_an_error_in_a_worker_is_raised_as_it_is():
    with pytest.raises(UnsupportedTarget, match="sm_13"):
        compile_kernels({"k1_gelu": KERNELS["k1_gelu"]}, "sm_13", assemble=False)


def test_double_precision_math_is_refused():
    text = gpu_kernels.elementwise("k", ("exp",)).replace("f32", "f64")
    with pytest.raises(UnsupportedTarget, match="__nv_exp"):
        compile_kernels({"k": text}, "sm_80", assemble=False, isolated=False)


def test_split_kernels_gives_each_a_module_without_locations():
    first = gpu_kernels.vector_gelu("k0")
    second = gpu_kernels.elementwise("k1", ("exp",)).replace("%", "%other_")  # names are per gpu.module
    both = first.replace("gpu.module @kernels {", "gpu.module @kernels {\n" + second.split("@kernels {")[1][:-6])
    with ir.Context(), ir.Location.unknown():
        texts = split_kernels(ir.Module.parse(both))
        assert sorted(texts) == ["k0", "k1"]
        for name, text in texts.items():
            assert text.count("gpu.func") == 1
            assert f"@{name}(" in text
            assert "loc(" not in text
            ir.Module.parse(text)


def test_there_is_ptx_for_every_chip_that_is_offered():
    assert PTX_CHIPS
    assert set(PTX_CHIPS) <= set(PTX_VERSION)
