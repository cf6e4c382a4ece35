"""Host kernels from MLIR text to results, at one and several threads."""

import os
import tempfile

import host_kernels
import numpy as np
import pytest
from host_kernels import parallel, ref

from mlirfuse.errors import ArtifactError, CompilerCrash, UnsupportedTarget
from mlirfuse.lowering.codegen.cache import KernelCache
from mlirfuse.lowering.codegen.workers import WorkerPool
from mlirfuse.lowering.host import HostObject, compile_host
from mlirfuse.lowering.host.object_code import HostCpu, llvm_ir_to_object
from mlirfuse.lowering.host.pipeline import lower_host_kernel, written_arguments
from mlirfuse.lowering.host.steps import native_program
from mlirfuse.runtime.host_library import HostLibrary

M, N, K = 64, 128, 96
KERNELS = host_kernels.module(
    host_kernels.matmul_relu("k0_matmul", M, N, K), host_kernels.softplus_rows("k1_softplus", M, N)
)
PROGRAM = {
    "arena_bytes": M * N * 4,
    "steps": [
        parallel(
            "k0_matmul",
            (M // 4) * (N // 16),
            ref("input", M * K, index=0),
            ref("weight", K * N, key="w"),
            ref("arena", M * N),
        ),
        parallel("k1_softplus", M, ref("arena", M * N), ref("output", M * N, index=0)),
    ],
}


class Network:
    """The compiled program with its buffers."""

    def __init__(self, code: HostObject, threads: int) -> None:
        rng = np.random.default_rng(0)
        self.x = rng.standard_normal((M, K), np.float32)
        self.w = rng.standard_normal((K, N), np.float32)
        self.y = np.zeros((M, N), np.float32)
        arena = np.zeros((M, N), np.float32)
        arrays = {"input": self.x, "weight": self.w, "arena": arena, "output": self.y}
        self.arrays = [arrays[slot.space] for slot in code.slots]
        self.library = HostLibrary(code.objects, code.features, len(code.slots), threads, code.cpu)

    def run(self, begin: int = 0, end: int = 2) -> np.ndarray:
        self.library.run_segment([a.ctypes.data for a in self.arrays], begin, end)
        return self.y

    def expected(self) -> np.ndarray:
        return np.logaddexp(np.maximum(self.x.astype(np.float64) @ self.w, 0), 0)


@pytest.fixture(scope="module")
def code() -> HostObject:
    return compile_host(KERNELS, PROGRAM, isolated=False)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_two_steps_agree_with_numpy(code, threads):
    network = Network(code, threads)
    expected = network.expected()
    for _ in range(200 if threads == 2 else 20):
        network.y[:] = np.nan
        np.testing.assert_allclose(network.run(), expected, rtol=2e-5, atol=1e-6)
    network.library.close()


def test_results_do_not_depend_on_the_number_of_threads(code):
    networks = [Network(code, threads) for threads in (1, 2)]
    one, two = (network.run().copy() for network in networks)
    np.testing.assert_array_equal(one, two)


def test_segments_and_a_change_of_threads(code):
    network = Network(code, 1)
    for threads in (2, 1, 4):
        network.library.threads = threads
        network.y[:] = 0
        network.run(0, 1)
        assert not network.y.any()
        np.testing.assert_allclose(network.run(1, 2), network.expected(), rtol=2e-5, atol=1e-6)


def test_a_long_chain_of_steps_of_many_sizes():
    """Every step reads all that the one before wrote; some have one tile, some copy."""
    size = 96
    kernels = {tiles: f"k{tiles}" for tiles in (1, 2, 3, 12)}
    text = host_kernels.module(*(host_kernels.reverse(n, size, size // t) for t, n in kernels.items()))
    halves = ref("arena", size), ref("arena", size, offset=size * 4)
    initial = np.random.default_rng(3).standard_normal(2 * size).astype(np.float32)
    expected = initial.copy()
    values = expected[:size], expected[size:]
    steps = []
    for i in range(70):
        source, destination = i % 2, 1 - i % 2
        if i % 7 == 3:
            steps.append({"op": "copy", "source": halves[source], "destination": halves[destination]})
            values[destination][:] = values[source]
        else:
            tiles = (1, 2, 3, 12, 1, 1)[i % 6]
            steps.append(parallel(kernels[tiles], tiles, halves[source], halves[destination]))
            values[destination][:] = values[source][::-1] * np.float32(0.5) + np.float32(1)
    code = compile_host(text, {"steps": steps}, isolated=False)
    for threads in (1, 2, 4):
        library = HostLibrary(code.objects, code.features, len(code.slots), threads)
        for _ in range(50):
            arena = initial.copy()
            library.run_segment([arena.ctypes.data], 0, len(steps))
            np.testing.assert_array_equal(arena, expected)
        library.close()


def test_threads_start_again_after_a_fork(code):
    network = Network(code, 2)
    expected = network.run().copy()
    child = os.fork()
    if child == 0:
        network.y[:] = 0
        os._exit(0 if np.array_equal(network.run(), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_missing_cpu_features_are_refused(code):
    with pytest.raises(ArtifactError, match="avx1024"):
        HostLibrary(code.objects, ("avx1024",), len(code.slots))


def test_a_damaged_object_is_refused(code):
    broken = dict(code.objects)
    del broken[code.symbols["k0_matmul"]]
    with pytest.raises(ArtifactError, match="does not link"):
        HostLibrary(broken, code.features, len(code.slots))


def test_workers_and_cache_give_the_same_objects(code, tmp_path):
    cache = KernelCache(tmp_path)
    assert compile_host(KERNELS, PROGRAM, cache=cache) == code
    with WorkerPool(0) as pool:
        assert compile_host(KERNELS, PROGRAM, cache=cache, pool=pool) == code


def test_code_for_a_level_needs_only_its_features():
    code = compile_host(KERNELS, PROGRAM, cpu="x86-64-v3", isolated=False)
    assert "avx2" in code.features
    assert "avx512f" not in code.features
    network = Network(code, 1)
    np.testing.assert_allclose(network.run(), network.expected(), rtol=2e-5, atol=1e-6)


def test_unknown_cpus_are_refused():
    with pytest.raises(UnsupportedTarget, match="x86-64-v3"):
        compile_host(KERNELS, PROGRAM, cpu="pdp-11", isolated=False)


def test_bfloat16_needs_nothing_from_outside():
    text = host_kernels.module("""
func.func private @k(%x: memref<64xf32>, %y: memref<64xbf16>, %tile: index) {
  %v = affine.vector_load %x[0] : memref<64xf32>, vector<64xf32>
  %t = arith.truncf %v : vector<64xf32> to vector<64xbf16>
  affine.vector_store %t, %y[0] : memref<64xbf16>, vector<64xbf16>
  return
}""")
    program = {"steps": [parallel("k", 1, ref("input", 64, index=0), ref("output", 64, index=0))]}
    code = compile_host(text, program, isolated=False)
    library = HostLibrary(code.objects, code.features, 2, 1)
    x = np.concatenate([np.linspace(-3, 3, 61), [np.inf, -np.inf, np.nan]]).astype(np.float32)
    y = np.zeros(64, np.uint16)
    library.run_segment([x.ctypes.data, y.ctypes.data], 0, 1)
    np.testing.assert_allclose((y.astype(np.uint32) << 16).view(np.float32), x, rtol=2**-8, equal_nan=True)


def test_a_native_crash_names_the_kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    text = KERNELS.replace("%l = math.log1p", 'llvm.call_intrinsic "llvm.nvvm.barrier0"() : () -> ()\n%l = math.log1p')
    with pytest.raises(CompilerCrash, match="k1_softplus"):
        compile_host(text, PROGRAM)


def test_vector_math_stays_vectorised():
    function = """
func.func private @k(%x: memref<64xf32>, %y: memref<64xf32>, %tile: index) {
  %row = affine.vector_load %x[%tile * 8] : memref<64xf32>, vector<8xf32>
  %rows = vector.broadcast %row : vector<8xf32> to vector<4x8xf32>
  %all = math.erf %rows : vector<4x8xf32>
  %one = vector.extract %all[3] : vector<8xf32> from vector<4x8xf32>
  affine.vector_store %one, %y[%tile * 8] : memref<64xf32>, vector<8xf32>
  return
}"""
    llvm_ir = lower_host_kernel(host_kernels.module(function), "k")
    assert "@fusion.erf.v8f32" in llvm_ir
    assert "@erff" not in llvm_ir


def test_written_arguments():
    texts = host_kernels.module(host_kernels.softplus_rows("k", 4, 4))
    assert written_arguments(texts) == (False, True)


def test_barriers_only_where_steps_depend():
    """Two branches read one value; the join reads both; steps of one tile follow each other on one thread."""
    a, b, c = (ref("arena", 64, offset=256 * i) for i in range(3))
    x, y = ref("input", 64, index=0), ref("output", 64, index=0)
    steps = [
        parallel("unary", 4, x, a),
        parallel("unary", 4, x, b),
        parallel("binary", 4, a, b, c),
        parallel("unary", 1, c, a),
        parallel("unary", 1, a, y),
        {"op": "copy", "source": a, "destination": b},
    ]
    native, slots = native_program(
        steps, {"unary": "u", "binary": "b"}, {"unary": (False, True), "binary": (False, False, True)}
    )
    assert [s.barrier for s in native] == [False, False, True, True, False, False]
    assert [slot.space for slot in slots] == ["input", "arena", "output"]
    assert native[5].copy_bytes == 256


@pytest.mark.parametrize("level", ["x86-64-v3", "x86-64-v4"])
def test_levels_use_their_wide_registers(level):
    """An eight-float addition is one 256-bit instruction (VEX prefix C5 FC or C5 F4 before 58), not two of 128 bits."""
    body = "%x = load <8 x float>, ptr %a\n%y = fadd <8 x float> %x, %x\nstore <8 x float> %y, ptr %b\nret void"
    code = llvm_ir_to_object(f"define void @f(ptr noalias %a, ptr noalias %b) {{\n{body}\n}}\n", HostCpu.named(level))
    assert b"\xc5\xfc\x58" in code
