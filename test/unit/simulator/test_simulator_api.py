"""Operations as kernels, the cache, and operations from outside."""

import numpy as np
from simulator_kernels import elementwise, module

from mlirfuse.mlir import ir
from mlirfuse.simulator import Kernel, simulate
from mlirfuse.simulator.registry import TRANSLATIONS, translates


def test_a_function_operation_is_a_kernel() -> None:
    x, y = np.linspace(-1, 1, 100, dtype=np.float32), np.zeros(100, np.float32)
    with ir.Context(), ir.Location.unknown():
        parsed = ir.Module.parse(elementwise(100, 32))
        function = parsed.body.operations[0].operation.regions[0].blocks[0].operations[0]
        counters = simulate(function, (4,), (32,), [x, y])
    np.testing.assert_allclose(y, np.exp(x) + 1, rtol=1e-6)
    assert counters.flops == 200


def test_kernels_are_cached_by_text() -> None:
    assert Kernel.from_text(elementwise(100, 32), "k") is Kernel.from_text(elementwise(100, 32), "k")
    assert Kernel.from_text(elementwise(100, 32), "k") is not Kernel.from_text(elementwise(101, 32), "k")


def test_unregistered_operations_beside_the_kernel_do_not_matter() -> None:
    text = elementwise(32, 32)
    host = 'func.func @main() { %w = "fusion.weight"() {key = "0"} : () -> memref<4xf32> return }'
    text = text[: text.rindex("}")] + host + "}"
    x, y = np.zeros(32, np.float32), np.zeros(32, np.float32)
    Kernel.from_text(text, "k").launch((1,), (32,), [x, y])
    assert (y == 2).all()


def test_an_operation_can_be_added() -> None:
    text = module(
        "%y: memref<32xf32, {G}>",
        """
      %t = gpu.thread_id x
      %two = arith.constant 2.0 : f32
      %v = "demo.cube"(%two) : (f32) -> f32
      memref.store %v, %y[%t] : memref<32xf32, {G}>""",
    )
    y = np.zeros(32, np.float32)

    @translates("demo.cube")
    def cube(t, op) -> None:  # type: ignore[no-untyped-def]
        t.elementwise(op, "{0}*{0}*{0}")

    try:
        Kernel(text, "k").launch((1,), (32,), [y])
    finally:
        del TRANSLATIONS["demo.cube"]
    assert (y == 8).all()


def test_index_buffers_and_booleans() -> None:
    """bool arrays pass as i8; a gather reads its index from memory."""
    text = module(
        "%n: memref<32xi64, {G}>, %m: memref<32xi8, {G}>, %y: memref<32xi8, {G}>",
        """
      %t = gpu.thread_id x
      %zero = arith.constant 0 : i8
      %n64 = memref.load %n[%t] : memref<32xi64, {G}>
      %i = arith.index_cast %n64 : i64 to index
      %v = memref.load %m[%i] : memref<32xi8, {G}>
      %c = arith.cmpi eq, %v, %zero : i8
      %r = arith.extui %c : i1 to i8
      memref.store %r, %y[%t] : memref<32xi8, {G}>""",
    )
    n = np.random.default_rng(0).permutation(32)
    m, y = np.arange(32) % 3 == 0, np.zeros(32, np.bool_)
    counted = Kernel.from_text(text, "k").launch((1,), (32,), [n, m, y], "count")
    assert not y.any()
    assert Kernel.from_text(text, "k").launch((1,), (32,), [n, m, y], "check") == counted
    np.testing.assert_array_equal(y, ~m[n])
