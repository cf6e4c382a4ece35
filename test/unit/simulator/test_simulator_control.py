"""Loops, conditions, indices and memory spaces."""

import numpy as np
import pytest
from simulator_kernels import module

from mlirfuse.simulator import Kernel, simulate

INDEX = "%t = gpu.thread_id x\n%b = gpu.block_id x\n%i = affine.apply affine_map<(t, b) -> (t + b * 8)>(%t, %b)\n"


def run(body: str, size: int = 32, mode: str = "check", batch: int | None = None, **options: str) -> np.ndarray:
    """y of a kernel of 4 blocks of 8 threads with %t, %b and the global number %i; y starts as -1."""
    y = np.full(size, -1, np.int32)
    text = module(
        f"%y: memref<{size}xi32, {{G}}>", INDEX + body.replace("YTYPE", f"memref<{size}xi32, {{G}}>"), **options
    )
    Kernel.from_text(text, "k").launch((size // 8,), (8,), [y], mode, batch=batch)
    return y


N = np.arange(32)


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_divergent_scf_for(batch: int | None) -> None:
    """sum of 0, 2, ..., below i"""
    y = run(
        """
      %c0 = arith.constant 0 : index
      %c2 = arith.constant 2 : index
      %sum = scf.for %j = %c0 to %i step %c2 iter_args(%a = %c0) -> index {
        %n = arith.addi %a, %j : index
        scf.yield %n : index
      }
      %v = arith.index_cast %sum : index to i32
      memref.store %v, %y[%i] : YTYPE""",
        batch=batch,
    )
    np.testing.assert_array_equal(y, [sum(range(0, i, 2)) for i in N])


def test_scf_for_over_i32_with_two_values() -> None:
    y = run(
        """
      %z = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %ten = arith.constant 10 : i32
      %f:2 = scf.for %j = %z to %ten step %one iter_args(%p = %z, %q = %one) -> (i32, i32) : i32 {
        %n = arith.addi %p, %q : i32
        scf.yield %q, %n : i32, i32
      }
      memref.store %f#0, %y[%i] : YTYPE"""
    )
    assert (y == 55).all()


def test_affine_for_with_thread_bounds() -> None:
    """Each thread walks its own residue class, up to the least of two bounds."""
    y = run(
        """
      %z = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %n = affine.for %j = max affine_map<(t) -> (t, 2)>(%t) to min affine_map<(b) -> (b * 8 + 8, 20)>(%b) step 4
          iter_args(%a = %z) -> i32 {
        %s = arith.addi %a, %one : i32
        affine.yield %s : i32
      }
      affine.store %n, %y[%i] : YTYPE"""
    )
    np.testing.assert_array_equal(y, [len(range(max(i % 8, 2), min(i // 8 * 8 + 8, 20), 4)) for i in N])


def test_nested_divergence() -> None:
    y = run(
        """
      %z = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %two = arith.constant 2 : i32
      %c5 = arith.constant 5 : index
      %big = arith.cmpi sgt, %t, %c5 : index
      %r = scf.if %big -> i32 {
        %s = affine.if affine_set<(b) : (b - 2 >= 0)>(%b) -> i32 {
          affine.yield %two : i32
        } else {
          affine.yield %one : i32
        }
        scf.yield %s : i32
      } else {
        scf.yield %z : i32
      }
      memref.store %r, %y[%i] : YTYPE"""
    )
    np.testing.assert_array_equal(y, np.where(N % 8 > 5, np.where(N // 8 >= 2, 2, 1), 0))


def test_uniform_if_takes_one_side() -> None:
    y = run(
        """
      %one = arith.constant 1 : i32
      %two = arith.constant 2 : i32
      affine.for %k = 0 to 2 {
        %v = affine.if affine_set<(k) : (k - 1 == 0)>(%k) -> i32 {
          affine.yield %two : i32
        } else {
          affine.yield %one : i32
        }
        affine.if affine_set<(i, k) : (i - k * 16 >= 0, k * 16 + 15 - i >= 0)>(%i, %k) {
          affine.store %v, %y[%i] : YTYPE
        }
      }"""
    )
    np.testing.assert_array_equal(y, np.where(N < 16, 1, 2))


def test_an_array_that_only_one_side_of_a_uniform_if_reads() -> None:
    """It is given up after the whole condition: nothing may stand before the other side."""
    y = run(
        """
      %one = arith.constant 1 : i32
      affine.for %k = 0 to 2 {
        %n = arith.index_cast %i : index to i32
        %w = arith.addi %n, %one : i32
        %x = affine.load %y[%i] : YTYPE
        %s = arith.addi %w, %x : i32
        %v = affine.if affine_set<(k) : (k - 1 == 0)>(%k) -> i32 {
          affine.yield %s : i32
        } else {
          affine.yield %one : i32
        }
        affine.store %v, %y[%i] : YTYPE
      }"""
    )
    np.testing.assert_array_equal(y, N + 2)


@pytest.mark.parametrize("batch", [None, 1])
def test_while_counts_collatz_steps(batch: int | None) -> None:
    y = run(
        """
      %z = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %two = arith.constant 2 : i32
      %three = arith.constant 3 : i32
      %n = arith.index_cast %i : index to i32
      %start = arith.addi %n, %one : i32
      %r:2 = scf.while (%v = %start, %c = %z) : (i32, i32) -> (i32, i32) {
        %more = arith.cmpi sgt, %v, %one : i32
        scf.condition(%more) %v, %c : i32, i32
      } do {
      ^bb0(%v: i32, %c: i32):
        %bit = arith.andi %v, %one : i32
        %odd = arith.cmpi eq, %bit, %one : i32
        %half = arith.divsi %v, %two : i32
        %triple = arith.muli %v, %three : i32
        %up = arith.addi %triple, %one : i32
        %next = arith.select %odd, %up, %half : i32
        %d = arith.addi %c, %one : i32
        scf.yield %next, %d : i32, i32
      }
      memref.store %r#1, %y[%i] : YTYPE""",
        batch=batch,
    )

    def steps(v: int) -> int:
        return 0 if v == 1 else 1 + steps(3 * v + 1 if v % 2 else v // 2)

    np.testing.assert_array_equal(y, [steps(i + 1) for i in N])


def test_affine_expressions() -> None:
    y = run(
        """
      affine.for %j = 0 to 1 {
        %a = affine.apply affine_map<(i, j)[s] ->
          ((i * 5 + 7 + j * 64) floordiv 4 + (i + 32 * s) mod 8 - i ceildiv 3)>(%i, %j)[%b]
        %m = affine.min affine_map<(i)[a] -> (a, 30 - i)>(%i)[%a]
        %n = affine.max affine_map<(m) -> (m, 2)>(%m)
        %v = arith.index_cast %n : index to i32
        affine.store %v, %y[%i] : YTYPE
      }"""
    )
    value = (N * 5 + 7) // 4 + (N + 32 * (N // 8)) % 8 - -(-N // 3)
    np.testing.assert_array_equal(y, np.maximum(np.minimum(value, 30 - N), 2))


def test_private_memory_indexed_by_thread() -> None:
    y = run(
        """
      %r = memref.alloca() : memref<2x4xi32>
      affine.for %p = 0 to 2 {
        affine.for %q = 0 to 4 {
          %s = affine.apply affine_map<(p, q, b) -> (p * 10 + q + b * 100)>(%p, %q, %b)
          %v = arith.index_cast %s : index to i32
          affine.store %v, %r[%p, %q] : memref<2x4xi32>
        }
      }
      %nine = arith.constant 9 : i32
      affine.store %nine, %r[0, %t mod 4] : memref<2x4xi32>
      %w = affine.load %r[1, %t mod 4] : memref<2x4xi32>
      %x = affine.load %r[0, (%t + 1) mod 4] : memref<2x4xi32>
      %z = arith.addi %w, %x : i32
      affine.store %z, %y[%i] : YTYPE"""
    )
    np.testing.assert_array_equal(y, 10 + N % 4 + (N + 1) % 4 + N // 8 * 200)


def test_private_vectors_of_scalars() -> None:
    y = run(
        """
      %r = memref.alloca() : memref<4xi32>
      %v = arith.constant dense<[1, 2, 3, 4]> : vector<4xi32>
      affine.vector_store %v, %r[0] : memref<4xi32>, vector<4xi32>
      %w = affine.vector_load %r[2] : memref<4xi32>, vector<2xi32>
      %s = vector.reduction <add>, %w : vector<2xi32> into i32
      affine.store %s, %y[%i] : YTYPE"""
    )
    assert (y == 7).all()


def test_shared_addresses_that_differ_between_blocks() -> None:
    y = run(
        """
      %v = arith.index_cast %i : index to i32
      affine.store %v, %s[(%t + %b) mod 8] : memref<8xi32, {S}>
      gpu.barrier
      %w = affine.load %s[%t] : memref<8xi32, {S}>
      affine.store %w, %y[%i] : YTYPE""",
        workgroup="%s: memref<8xi32, {S}>",
    )
    np.testing.assert_array_equal(y, N // 8 * 8 + (N % 8 - N // 8) % 8)


def test_dynamic_shared_memory_and_subviews() -> None:
    """Two views of one buffer; a subview with dropped dimension and stride."""
    y = run(
        """
      %bytes = gpu.dynamic_shared_memory : memref<?xi8, {S}>
      %c0 = arith.constant 0 : index
      %c64 = arith.constant 64 : index
      %c1 = arith.constant 1 : index
      %p = memref.view %bytes[%c0][] : memref<?xi8, {S}> to memref<2x8xi32, {S}>
      %q = memref.view %bytes[%c64][] : memref<?xi8, {S}> to memref<16xi32, {S}>
      %row = memref.subview %p[%c1, 0] [1, 8] [1, 1]
        : memref<2x8xi32, {S}> to memref<8xi32, strided<[1], offset: ?>, {S}>
      %odd = memref.subview %q[1] [8] [2] : memref<16xi32, {S}> to memref<8xi32, strided<[2], offset: 1>, {S}>
      %v = arith.index_cast %i : index to i32
      memref.store %v, %row[%t] : memref<8xi32, strided<[1], offset: ?>, {S}>
      memref.store %v, %odd[%t] : memref<8xi32, strided<[2], offset: 1>, {S}>
      gpu.barrier
      %a = affine.load %p[1, 7 - %t] : memref<2x8xi32, {S}>
      %e = affine.load %q[2 * %t + 1] : memref<16xi32, {S}>
      %d = arith.subi %a, %e : i32
      affine.store %d, %y[%i] : YTYPE"""
    )
    np.testing.assert_array_equal(y, 7 - 2 * (N % 8))


def test_vector_elements_in_shared_memory() -> None:
    y = run(
        """
      %v = arith.index_cast %i : index to i32
      %w = vector.broadcast %v : i32 to vector<2xi32>
      affine.store %w, %s[%t] : memref<8xvector<2xi32>, {S}>
      gpu.barrier
      %r = affine.load %s[7 - %t] : memref<8xvector<2xi32>, {S}>
      %e = vector.extract %r[1] : i32 from vector<2xi32>
      affine.store %e, %y[%i] : YTYPE""",
        workgroup="%s: memref<8xvector<2xi32>, {S}>",
    )
    np.testing.assert_array_equal(y, N // 8 * 8 + 7 - N % 8)


@pytest.mark.parametrize(("mode", "offset", "expected"), [
    ("down", 3, lambda t: np.where(t + 3 < 32, t + 3, t)), ("up", 3, lambda t: np.where(t >= 3, t - 3, t)),
    ("idx", 5, lambda t: np.full(32, 5)), ("xor", 7, lambda t: t ^ 7),
])  # fmt: skip
def test_shuffles(mode: str, offset: int, expected: object) -> None:
    text = module(
        "%y: memref<32xi32, {G}>",
        f"""
      %t = gpu.thread_id x
      %o = arith.constant {offset} : i32
      %w = arith.constant 32 : i32
      %v = arith.index_cast %t : index to i32
      %s, %p = gpu.shuffle {mode} %v, %o, %w : i32
      memref.store %s, %y[%t] : memref<32xi32, {{G}}>""",
    )
    y = np.zeros(32, np.int32)
    simulate((text, "k"), (1,), (32,), [y])
    np.testing.assert_array_equal(y, expected(np.arange(32)))  # type: ignore[operator]


def test_three_dimensional_coordinates() -> None:
    text = module(
        "%y: memref<144xi32, {G}>",
        """
      %tx = gpu.thread_id x
      %ty = gpu.thread_id y
      %tz = gpu.thread_id z
      %bx = gpu.block_id x
      %by = gpu.block_id y
      %dx = gpu.block_dim x
      %gx = gpu.grid_dim x
      %t = affine.apply affine_map<(x, y, z) -> (x + 2 * y + 6 * z)>(%tx, %ty, %tz)
      %b = affine.apply affine_map<(x, y) -> (x + 3 * y)>(%bx, %by)
      %n = arith.muli %dx, %gx : index
      %s = arith.addi %n, %b : index
      %v = arith.index_cast %s : index to i32
      affine.store %v, %y[%b * 24 + %t] : memref<144xi32, {G}>""",
    )
    y = np.zeros(144, np.int32)
    simulate((text, "k"), (3, 2), (2, 3, 4), [y])
    np.testing.assert_array_equal(y, 6 + np.repeat(np.arange(6), 24))


def test_loop_bounds_read_from_memory() -> None:
    text = module(
        "%n: memref<8xi32, {G}>, %y: memref<8xi32, {G}>",
        """
      %t = gpu.thread_id x
      %z = arith.constant 0 : i32
      %one = arith.constant 1 : i32
      %end = memref.load %n[%t] : memref<8xi32, {G}>
      %s = scf.for %j = %z to %end step %one iter_args(%a = %z) -> i32 : i32 {
        %b = arith.addi %a, %j : i32
        scf.yield %b : i32
      }
      memref.store %s, %y[%t] : memref<8xi32, {G}>""",
    )
    n, y = np.array([3, 0, 5, -2, 1, 7, 2, 4], np.int32), np.zeros(8, np.int32)
    simulate((text, "k"), (1,), (8,), [n, y])
    assert y.tolist() == [sum(range(v)) for v in n]
    counted = Kernel.from_text(text, "k").launch((1,), (8,), [n, y * 0], "count")
    assert counted.global_requests == 2
