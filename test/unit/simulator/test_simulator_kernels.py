"""Whole kernels against NumPy, with counters computed by hand."""

import numpy as np
import pytest
from simulator_kernels import convolution, elementwise, matmul, warp_sum

from mlirfuse.simulator import Counters, Kernel


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def convolve(x: np.ndarray, f: np.ndarray, b: np.ndarray) -> np.ndarray:
    """relu(3x3 cross-correlation + bias), padding 1."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    h, w = x.shape[2:]
    y = np.zeros((x.shape[0], f.shape[0], h, w), np.float32)
    for r in range(3):
        for s in range(3):
            y += np.einsum("nchw,kc->nkhw", padded[:, :, r : r + h, s : s + w], f[:, :, r, s])
    return np.maximum(y + b[:, None, None], 0)


@pytest.mark.parametrize("mode", ["run", "check"])
@pytest.mark.parametrize("batch", [None, 1, 3])
def test_elementwise_with_a_tail(mode: str, batch: int | None) -> None:
    x, y = floats(1000), np.zeros(1000, np.float32)
    Kernel.from_text(elementwise(1000, 128), "k").launch((8,), (128,), [x, y], mode, batch=batch)
    np.testing.assert_allclose(y, np.exp(x) + 1, rtol=1e-6)


@pytest.mark.parametrize("mode", ["check", "count"])
@pytest.mark.parametrize("batch", [None, 1, 3])
def test_elementwise_counters(mode: str, batch: int | None) -> None:
    x, y = floats(1001), np.zeros(1001, np.float32)
    counters = Kernel.from_text(elementwise(1001, 128), "k").launch((8,), (128,), [x, y], mode, batch=batch)
    # 1001 * 4 bytes = 125 whole sectors and one of which 4 bytes are used; 31 full warps and one of 9 lanes.
    assert counters == Counters(
        launches=1, blocks=8, global_read_bytes=126 * 32, global_write_bytes=126 * 32, dram_read_bytes=126 * 32,
        dram_write_bytes=126 * 32, global_requests=64, flops=2 * 1001,
    )  # fmt: skip
    assert (y == 0).all() == (mode == "count")


def test_in_place_buffers_share_their_sectors() -> None:
    x = floats(1024)
    expected = np.exp(x) + 1
    counters = Kernel.from_text(elementwise(1024, 128), "k").launch((8,), (128,), [x, x], "check")
    np.testing.assert_allclose(x, expected, rtol=1e-6)
    assert (counters.dram_read_bytes, counters.dram_write_bytes) == (4096, 4096)


@pytest.mark.parametrize("batch", [None, 1, 5])
def test_matmul(batch: int | None) -> None:
    m, n, k = 32, 48, 64
    a, b, c = floats(m, k), floats(k, n), np.zeros((m, n), np.float32)
    buffers = [a.reshape(-1), b.reshape(-1), c.reshape(-1)]
    counters = Kernel.from_text(matmul(m, n, k), "k").launch((3, 2), (16, 16), buffers, "check", batch=batch)
    np.testing.assert_allclose(c, a @ b, rtol=1e-4, atol=1e-5)
    blocks, warps, tiles = 6, 8, k // 16
    assert counters.blocks == blocks
    assert counters.flops == 2 * m * n * k
    assert counters.barriers == blocks * tiles * 2
    # A warp is two rows of sixteen lanes: 2 * 64 bytes, four sectors, of A, of B and of C.
    assert counters.global_requests == blocks * warps * (2 * tiles + 1)
    assert counters.global_read_bytes == blocks * warps * tiles * 2 * 4 * 32
    assert counters.global_write_bytes == m * n * 4
    assert counters.dram_read_bytes == (m * k + k * n) * 4
    assert counters.dram_write_bytes == m * n * 4
    # Per tile: two stores of 32 different words, then 16 loads of two words (A) and 16 of 16 words (B).
    assert counters.shared_requests == blocks * warps * tiles * (2 + 32)
    # A's two words are 16 apart, so all loads are free of conflicts, and so are B's rows.
    assert counters.shared_wavefronts == counters.shared_ideal_wavefronts == counters.shared_requests


def test_matmul_pitch_that_conflicts() -> None:
    m = n = k = 16
    a, b, c = floats(m, k), floats(k, n), np.zeros((m, n), np.float32)
    buffers = [a.reshape(-1), b.reshape(-1), c.reshape(-1)]
    counters = Kernel.from_text(matmul(m, n, k, pitch=32), "k").launch((1, 1), (16, 16), buffers, "check")
    # The two rows of a warp start in the same bank: stores (2) and loads of A (16) take two wavefronts each.
    assert counters.shared_wavefronts - counters.shared_ideal_wavefronts == 8 * (2 + 16)
    assert counters.bank_conflict_factor == pytest.approx((34 + 18) / 34)


@pytest.mark.parametrize("mode", ["run", "check"])
def test_warp_reduction(mode: str) -> None:
    x, y = floats(50, 75), np.zeros(50, np.float32)
    counters = Kernel.from_text(warp_sum(50, 75), "k").launch((50,), (32,), [x.reshape(-1), y], mode, batch=16)
    np.testing.assert_allclose(y, x.sum(axis=1), rtol=1e-4, atol=1e-5)
    if mode == "check":
        assert counters.flops == 50 * (75 + 5 * 32)
        assert counters.global_requests == 50 * (3 + 1)
        assert counters.global_write_bytes == 50 * 32
        assert counters.dram_write_bytes == -(-50 * 4 // 32) * 32


@pytest.mark.parametrize(("mode", "batch"), [("run", None), ("check", None), ("check", 7)])
def test_convolution(mode: str, batch: int | None) -> None:
    n, c, h, w, k = 2, 5, 10, 20, 32
    x, f, b = floats(n, c, h, w), floats(k, c, 3, 3), floats(k)
    y = np.zeros((n, k, h, w), np.float32)
    kernel = Kernel.from_text(convolution(n, c, h, w, k), "k")
    grid = (3 * 2, 2, n)
    counters = kernel.launch(grid, (64,), [x.reshape(-1), f.reshape(-1), b, y.reshape(-1)], mode, batch=batch)
    np.testing.assert_allclose(y, convolve(x, f, b), rtol=1e-4, atol=1e-4)
    if mode == "check":
        assert counters.dram_read_bytes == (n * c * h * w + k * c * 9 + k) * 4
        assert counters.dram_write_bytes == n * k * h * w * 4
        assert counters.flops == 24 * 64 * (c * 9 * 4 * 4 * 2 + 4 * 4 * 2)


def test_counting_agrees_with_checking() -> None:
    n, c, h, w, k = 1, 4, 9, 36, 16
    x, f, b = floats(n, c, h, w), floats(k, c, 3, 3), floats(k)
    y = np.zeros((n, k, h, w), np.float32)
    kernel = Kernel.from_text(convolution(n, c, h, w, k), "k")
    buffers = [x.reshape(-1), f.reshape(-1), b, y.reshape(-1)]
    counted = kernel.launch((9, 1, 1), (64,), buffers, "count")
    assert not y.any()
    checked = kernel.launch((9, 1, 1), (64,), buffers, "check")
    assert y.any()
    assert counted == checked


def test_counters_add_up() -> None:
    total = sum([Counters(flops=2, global_read_bytes=32), Counters(flops=3, dram_write_bytes=64)])
    assert isinstance(total, Counters)
    assert total.to_dict()["flops"] == 5
    assert (total.global_bytes, total.dram_bytes) == (32, 64)
