"""Broken kernels: every one must be caught, with a message that says what and where."""

import numpy as np
import pytest
from simulator_kernels import convolution, elementwise, matmul, module

from mlirfuse.simulator import Kernel, SimulationError


def refuse(text: str, match: str, buffers: list[np.ndarray], block: tuple[int, ...] = (64,), **options: object) -> None:
    kernel = Kernel.from_text(text, "k")
    options = {"grid": (1,), "mode": "check"} | options
    with pytest.raises(SimulationError, match=match):
        kernel.launch(block=block, buffers=buffers, **options)  # type: ignore[arg-type]


def zeros(size: int) -> np.ndarray:
    return np.zeros(size, np.float32)


@pytest.mark.parametrize(
    ("barriers", "match"),
    [
        (
            (1,),
            r"kernel k: affine.load on workgroup buffer 0 \(memref<16x16xf32>\): RAW race: thread 1 reads .*thread 0",
        ),
        ((0,), r"kernel k: affine.store on workgroup buffer 0 .*WAR race: thread 0 overwrites .*several threads"),
    ],
)
@pytest.mark.parametrize("batch", [1, 4])
def test_dropped_barrier(barriers: tuple[int, ...], match: str, batch: int) -> None:
    buffers = [zeros(32 * 32) for _ in range(3)]
    text = matmul(32, 32, 32, barriers=barriers)
    refuse(text, match, buffers, block=(16, 16), grid=(2, 2), batch=batch)


def test_dropped_barriers_of_a_convolution() -> None:
    text = convolution(1, 2, 8, 16, 16)
    buffers = [zeros(2 * 128), zeros(16 * 18), zeros(16), zeros(16 * 128)]
    first, second = (text.index("gpu.barrier", start) for start in (0, text.index("gpu.barrier") + 1))
    for at, match in ((first, "RAW race"), (second, "WAR race")):
        broken = text[:at] + text[at + len("gpu.barrier") :]
        refuse(broken, match, buffers, grid=(2, 1, 1))
        Kernel.from_text(broken, "k").launch((2, 1, 1), (64,), buffers, "count")


def test_two_threads_write_one_word() -> None:
    text = module(
        "%y: memref<64xf32, {G}>",
        """
      %t = gpu.thread_id x
      %one = arith.constant 1.0 : f32
      affine.store %one, %s[%t floordiv 2] : memref<64xf32, {S}>""",
        workgroup="%s: memref<64xf32, {S}>",
    )
    refuse(text, "WAW race: thread 0 overwrites shared byte 0 that thread 1 wrote", [zeros(64)])


def test_missing_predicate_is_out_of_bounds() -> None:
    text = elementwise(1000, 128).replace("999 - i >= 0", "1023 - i >= 0")
    match = (
        r"kernel k: affine.load on argument 0 \(memref<1000xf32>\): index \[1000\] is out of bounds of \[1000\] "
        r"in dimension 0; thread 104 of block \(7, 0, 0\), the first of 24 such threads \(at \"-\":11:14\)"
    )
    for mode in ("run", "check", "count"):
        refuse(text, match, [zeros(1000), zeros(1000)], block=(128,), grid=(8,), mode=mode)


def test_off_by_one_in_shared_memory() -> None:
    text = convolution(1, 1, 8, 16, 16).replace("%si[%row + %r, %px + 4]", "%si[%row + %r + 1, %px + 4]")
    buffers = [zeros(128), zeros(16 * 9), zeros(16), zeros(16 * 128)]
    refuse(text, r"vector_load on workgroup buffer 0 \(memref<6x20xf32>\): index \[6, 4\]", buffers, grid=(2, 1, 1))


def test_vector_over_the_end() -> None:
    text = module(
        "%x: memref<64xf32, {G}>, %y: memref<64xf32, {G}>",
        """
      %t = gpu.thread_id x
      %v = affine.vector_load %x[%t] : memref<64xf32, {G}>, vector<4xf32>
      %one = arith.constant dense<1.0> : vector<4xf32>
      affine.vector_store %v, %y[0] : memref<64xf32, {G}>, vector<4xf32>""",
    )
    refuse(text, r"index \[61\] .*\(a vector of 4\); thread 61", [zeros(64), zeros(64)])


def test_private_index_out_of_bounds() -> None:
    text = module(
        "%y: memref<64xf32, {G}>",
        """
      %t = gpu.thread_id x
      %one = arith.constant 1.0 : f32
      %r = memref.alloca() : memref<4xf32>
      affine.store %one, %r[%t floordiv 15] : memref<4xf32>""",
    )
    refuse(text, r"private buffer \(memref<4xf32>\): index 4 is out of bounds", [zeros(64)])


def divergent_barrier(condition: str) -> str:
    return module(
        "%y: memref<64xf32, {G}>",
        f"""
      %t = gpu.thread_id x
      %b = gpu.block_id x
      affine.if affine_set<(t, b) : ({condition} >= 0)>(%t, %b) {{
        gpu.barrier
      }}""",
    )


def test_divergent_barrier() -> None:
    match = r"gpu.barrier: barrier in divergent control flow: 32 of 64 threads .*missing thread 32"
    for mode in ("run", "check", "count"):
        refuse(divergent_barrier("31 - t"), match, [zeros(64)], mode=mode)


def test_barrier_that_some_blocks_skip_is_legal() -> None:
    counters = Kernel.from_text(divergent_barrier("2 - b"), "k").launch((8,), (64,), [zeros(64)], "check")
    assert counters.barriers == 3


def test_race_only_in_the_blocks_that_skip_the_barrier() -> None:
    text = module(
        "%y: memref<64xf32, {G}>",
        """
      %t = gpu.thread_id x
      %b = gpu.block_id x
      %one = arith.constant 1.0 : f32
      affine.store %one, %s[%t] : memref<64xf32, {S}>
      affine.if affine_set<(b) : (b - 1 == 0)>(%b) {
        gpu.barrier
      }
      %v = affine.load %s[63 - %t] : memref<64xf32, {S}>""",
        workgroup="%s: memref<64xf32, {S}>",
    )
    refuse(text, r"RAW race: .*\(block \(0, 0, 0\)\)", [zeros(64)], grid=(3,))
    refuse(text, "RAW race", [zeros(64)], grid=(3,), batch=1)


def uninitialised(stored: int) -> str:
    return module(
        "%y: memref<64xf32, {G}>",
        f"""
      %t = gpu.thread_id x
      %one = arith.constant 1.0 : f32
      affine.if affine_set<(t) : ({stored - 1} - t >= 0)>(%t) {{
        affine.store %one, %s[%t] : memref<64xf32, {{S}}>
      }}
      gpu.barrier
      %v = affine.load %s[63 - %t] : memref<64xf32, {{S}}>
      affine.store %v, %y[%t] : memref<64xf32, {{G}}>""",
        workgroup="%s: memref<64xf32, {S}>",
    )


def test_missing_initialisation() -> None:
    refuse(uninitialised(60), "reads shared memory that no thread of the block has written", [zeros(64)])
    y = zeros(64)
    kernel = Kernel.from_text(uninitialised(60), "k")
    assert kernel.launch((3,), (64,), [y], "check", uninitialised="count").uninitialised_reads == 3 * 4
    assert np.isnan(y).sum() == 4


def test_shared_memory_is_fresh_in_every_batch() -> None:
    kernel, y = Kernel.from_text(uninitialised(64), "k"), zeros(64)
    kernel.launch((4,), (64,), [y], "check", batch=1)
    assert (y == 1).all()


def test_shuffle_from_an_inactive_lane() -> None:
    text = module(
        "%y: memref<64xf32, {G}>",
        """
      %t = gpu.thread_id x
      %one = arith.constant 1.0 : f32
      %o = arith.constant 16 : i32
      %w = arith.constant 32 : i32
      affine.if affine_set<(t) : (15 - t >= 0)>(%t) {
        %v, %p = gpu.shuffle xor %one, %o, %w : f32
      }""",
    )
    refuse(text, "thread 0 reads from thread 16, which does not take part", [zeros(64)])


def test_bytes_read_as_another_type() -> None:
    text = module(
        "%y: memref<64xf32, {G}>",
        """
      %t = gpu.thread_id x
      %c0 = arith.constant 0 : index
      %one = arith.constant 1.0 : f32
      %bytes = gpu.dynamic_shared_memory : memref<?xi8, {S}>
      %f = memref.view %bytes[%c0][] : memref<?xi8, {S}> to memref<64xf32, {S}>
      %i = memref.view %bytes[%c0][] : memref<?xi8, {S}> to memref<64xi32, {S}>
      affine.store %one, %f[%t] : memref<64xf32, {S}>
      gpu.barrier
      %v = affine.load %i[%t] : memref<64xi32, {S}>""",
    )
    refuse(text, "reads as int32 shared bytes that were written as another type", [zeros(64)])
    refuse(text, "lie beyond the launch's 128 shared bytes", [zeros(64)], shared_bytes=128)


def test_unknown_operation() -> None:
    text = module("%y: memref<64xf32, {G}>", "      %i = nvvm.read.ptx.sreg.tid.x : i32")
    refuse(text, "nvvm.read.ptx.sreg.tid.x: the simulator does not know this operation", [zeros(64)])


def test_wrong_launches() -> None:
    kernel = Kernel.from_text(matmul(32, 32, 32), "k")
    buffers = [zeros(1024) for _ in range(3)]
    frozen = zeros(1024)
    frozen.flags.writeable = False
    for bad, match in (
        (buffers[:2], "takes 3 buffers, but 2 were given"),
        (
            [*buffers[:2], zeros(1000)],
            "argument 2: expected a contiguous writable array of 1024 f32, found 1000 float32",
        ),
        ([*buffers[:2], np.zeros(1024)], "found 1024 float64"),
        ([*buffers[:2], frozen], "writable"),
    ):
        with pytest.raises(SimulationError, match=match):
            kernel.launch((2, 2), (16, 16), bad)
    with pytest.raises(SimulationError, match=r"compiled for a block of \(16, 16, 1\), launched with \(64, 1, 1\)"):
        kernel.launch((2, 2), (64,), buffers)
    with pytest.raises(SimulationError, match="no mode 'fast'"):
        kernel.launch((2, 2), (16, 16), buffers, "fast")
    with pytest.raises(SimulationError, match=r"no gpu\.func called other"):
        Kernel.from_text(matmul(32, 32, 32), "other").launch((2, 2), (16, 16), buffers)
    kernel.launch((2, 2), (16, 16), [frozen, *buffers[:2]])


def shift(offset: int) -> str:
    """y[i] = x[(i + offset) mod 256]"""
    return module(
        "%x: memref<256xf32, {G}>, %y: memref<256xf32, {G}>",
        f"""
      %t = gpu.thread_id x
      %b = gpu.block_id x
      %v = affine.load %x[(%t + 64 * %b + {offset}) mod 256] : memref<256xf32, {{G}}>
      affine.store %v, %y[%t + 64 * %b] : memref<256xf32, {{G}}>""",
    )


def test_blocks_race_when_the_output_overlaps_another_blocks_input() -> None:
    x = np.arange(256, dtype=np.float32)
    for batch in (1, 4):
        refuse(shift(64), r"race between blocks: block \(., 0, 0\) overwrites .* read", [x, x], grid=(4,), batch=batch)
    refuse(
        shift(192), r"block \(1, 0, 0\) reads global memory that block \(0, 0, 0\) wrote", [x, x], grid=(4,), batch=1
    )
    Kernel.from_text(shift(0), "k").launch((4,), (64,), [x, x], "check")
    arena = np.arange(320, dtype=np.float32)
    refuse(shift(0), "overwrites", [arena[:256], arena[64:]], grid=(4,))


def overlapping_stores(value: str) -> str:
    """Tiles of 64 at a stride of 48."""
    return module(
        "%y: memref<256xf32, {G}>",
        f"""
      %t = gpu.thread_id x
      %b = gpu.block_id x
      %n = affine.apply affine_map<(t, b) -> ({value})>(%t, %b)
      %i = arith.index_cast %n : index to i32
      %v = arith.sitofp %i : i32 to f32
      affine.store %v, %y[%t + 48 * %b] : memref<256xf32, {{G}}>""",
    )


@pytest.mark.parametrize("batch", [1, 4])
def test_blocks_may_write_the_same_value_twice(batch: int) -> None:
    y = zeros(256)
    Kernel.from_text(overlapping_stores("t + 48 * b"), "k").launch((5,), (64,), [y], "check", batch=batch)
    np.testing.assert_array_equal(y, np.arange(256))
    refuse(
        overlapping_stores("t"),
        r"race between blocks: block \(., 0, 0\) overwrites .* wrote",
        [y],
        grid=(5,),
        batch=batch,
    )


def test_broken_promise_of_alignment() -> None:
    text = module(
        "%x: memref<256xf32, {G}>",
        """
      %t = gpu.thread_id x
      %v = vector.load %x[%t] {alignment = 16 : i64} : memref<256xf32, {G}>, vector<4xf32>""",
    )
    refuse(text, "byte 4 is not aligned to the 16 bytes", [zeros(256)])
