"""Thread-block clusters: blocks that reach into each other's shared memory, and what is undefined there."""

import numpy as np
import pytest
from simulator_kernels import module

from mlirfuse.simulator import Counters, Kernel, SimulationError

CLUSTER, THREADS = 4, 32
BARRIER = "gpu.barrier scope <cluster>"


def clustered(body: str, size: int, shape: str = f"{CLUSTER}x{THREADS}", cluster: int = CLUSTER) -> str:
    """A kernel of (x, y), a shared array `%s` of `shape` (`SHARED` and `PEER` are its types), and barriers `SYNC`."""
    texts = {"SYNC": BARRIER, "SHARED": f"memref<{shape}xf32, {{S}}>", "PEER": f"memref<{shape}xf32, 7>"}
    for name, text in texts.items():
        body = body.replace(name, text)
    start = """
      %t = gpu.thread_id x
      %b = gpu.block_id x
      %r = gpu.cluster_block_id x
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index"""
    return module(
        "%x: BUFFER, %y: BUFFER".replace("BUFFER", f"memref<{size}xf32, {{G}}>"),
        start + body.replace("BUFFER", f"memref<{size}xf32, {{G}}>"),
        workgroup=f"%s: memref<{shape}xf32, {{S}}>",
        attributes=f"attributes {{gpu.known_cluster_size = array<i32: {cluster}, 1, 1>}}",
    )


def exchange(first: str = "SYNC", second: str = "SYNC", rank: str = "p", blocks: int = 8) -> str:
    """y of each block = the sum of x over the blocks of its cluster: every block stores to all."""
    body = f"""
      %v = affine.load %x[%b * {THREADS} + %t] : BUFFER
      {first}
      affine.for %p = 0 to {CLUSTER} {{
        %o = affine.apply affine_map<(p, r) -> ({rank})>(%p, %r)
        %m = "fusion.peer_memory"(%s, %o) : (SHARED, index) -> PEER
        affine.store %v, %m[%r, %t] : PEER
      }}
      {second}
      %zero = arith.constant 0.0 : f32
      %sum = affine.for %p = 0 to {CLUSTER} iter_args(%acc = %zero) -> f32 {{
        %w = affine.load %s[%p, %t] : SHARED
        %next = arith.addf %acc, %w : f32
        affine.yield %next : f32
      }}
      affine.store %sum, %y[%b * {THREADS} + %t] : BUFFER"""
    return clustered(body, blocks * THREADS)


def launch(text: str, mode: str = "check", blocks: int = 8, **options: object) -> tuple[np.ndarray, Counters]:
    """y, and the counters, of a launch with seeded x."""
    x = np.random.default_rng(0).integers(0, 100, blocks * THREADS).astype(np.float32)
    y = np.zeros_like(x)
    grid = options.pop("grid", (blocks,))
    counters = Kernel.from_text(text, "k").launch(grid, (THREADS,), [x, y], mode, **options)  # type: ignore[arg-type]
    return y, counters


def refuse(text: str, match: str, **options: object) -> None:
    with pytest.raises(SimulationError, match=match):
        launch(text, **options)  # type: ignore[arg-type]


def sums(blocks: int = 8) -> np.ndarray:
    """What `exchange` computes."""
    x = np.random.default_rng(0).integers(0, 100, blocks * THREADS).astype(np.float32)
    total = x.reshape(-1, CLUSTER, THREADS).sum(axis=1, keepdims=True)
    return np.repeat(total, CLUSTER, axis=1).reshape(-1)


@pytest.mark.parametrize("mode", ["run", "check"])
@pytest.mark.parametrize("batch", [None, 1, 5])
def test_blocks_of_a_cluster_exchange_what_they_have(mode: str, batch: int | None) -> None:
    y, _ = launch(exchange(), mode, batch=batch)
    assert np.array_equal(y, sums())


def test_ranks_may_differ_between_threads() -> None:
    body = f"""
      affine.store %v, %s[%t] : SHARED
      SYNC
      %p = affine.apply affine_map<(t) -> (t mod {CLUSTER})>(%t)
      %m = "fusion.peer_memory"(%s, %p) : (SHARED, index) -> PEER
      %w = affine.vector_load %m[(%t floordiv 2) * 2] : PEER, vector<2xf32>
      %e = vector.extract %w[1] : f32 from vector<2xf32>
      SYNC
      affine.store %e, %y[%b * {THREADS} + %t] : BUFFER"""
    text = clustered(f"\n      %v = affine.load %x[%b * {THREADS} + %t] : BUFFER" + body, 8 * THREADS, str(THREADS))
    y, _ = launch(text)
    x = np.random.default_rng(0).integers(0, 100, 8 * THREADS).astype(np.float32)
    t, b = np.arange(THREADS), np.arange(8).reshape(-1, 1)
    expected = x.reshape(8, THREADS)[b // CLUSTER * CLUSTER + t % CLUSTER, t // 2 * 2 + 1]
    assert np.array_equal(y.reshape(8, THREADS), expected)


def test_clusters_lie_along_x() -> None:
    body = f"""
      %by = gpu.block_id y
      %i = arith.index_cast %r : index to i32
      %f = arith.sitofp %i : i32 to f32
      affine.store %f, %y[(%by * {CLUSTER} + %b) * {THREADS} + %t] : BUFFER"""
    y, _ = launch(clustered(body, 8 * THREADS), grid=(CLUSTER, 2))
    assert np.array_equal(y.reshape(8, THREADS)[:, 0], np.arange(8) % CLUSTER)


def test_what_goes_to_other_blocks_is_counted_apart() -> None:
    _, checked = launch(exchange())
    _, counted = launch(exchange(), "count", batch=4)
    assert checked == counted
    assert checked.peer_write_bytes == 8 * (CLUSTER - 1) * THREADS * 4
    assert checked.peer_read_bytes == checked.barriers == 0
    assert checked.cluster_barriers == 2 * 8
    assert checked.shared_requests == 8 * (CLUSTER + 1)  # the loads, and the store to the own block
    assert checked.bank_conflict_factor == 1


def test_a_missing_barrier_is_a_race() -> None:
    match = (
        r"affine.load on workgroup buffer 0 .*: RAW race: thread 0 of block \(1, 0, 0\) reads shared byte 0 of block "
        r"\(1, 0, 0\) that thread 0 of block \(0, 0, 0\) wrote with no barrier of the cluster in between"
    )
    refuse(exchange(second=""), match)
    launch(exchange(second=""), "count")


def test_a_barrier_of_the_block_does_not_order_others() -> None:
    refuse(exchange(second="gpu.barrier"), "RAW race: thread 0 of .* no barrier of the cluster in between")


def test_other_blocks_may_not_have_started() -> None:
    match = (
        r"affine.store on workgroup buffer 0 .* of a block of the cluster: thread 0 of block \(1, 0, 0\) reaches into "
        r"the shared memory of block \(0, 0, 0\) before the first barrier of the cluster"
    )
    refuse(exchange(first=""), match)
    refuse(exchange(first="gpu.barrier"), "before the first barrier of the cluster")


READ = f"""
      %v = affine.load %x[%b * {THREADS} + %t] : BUFFER
      affine.store %v, %s[%t] : SHARED
      SYNC
      %p = affine.apply affine_map<(r) -> ((r + 1) mod {CLUSTER})>(%r)
      %m = "fusion.peer_memory"(%s, %p) : (SHARED, index) -> PEER
      %w = affine.load %m[%t] : PEER
      LAST
      affine.store %w, %y[%b * {THREADS} + %t] : BUFFER"""


def test_other_blocks_may_have_ended() -> None:
    match = r"affine.load .* reaches into the shared memory of .* after the last barrier of the cluster"
    launch(clustered(READ.replace("LAST", BARRIER), 8 * THREADS, str(THREADS)))
    for batch in (4, 8):
        refuse(clustered(READ.replace("LAST", ""), 8 * THREADS, str(THREADS)), match, batch=batch)
        refuse(clustered(READ.replace("LAST", "gpu.barrier"), 8 * THREADS, str(THREADS)), match, batch=batch)


def test_a_block_waits_before_it_overwrites_what_others_read() -> None:
    again = f"SYNC\n affine.store %w, %s[%t] : SHARED\n {BARRIER}"
    launch(clustered(READ.replace("LAST", again), 8 * THREADS, str(THREADS)))
    match = r"WAR race: thread 0 of block \(0, 0, 0\) overwrites .* that thread 0 of block \(3, 0, 0\) read"
    refuse(clustered(READ.replace("LAST", again.replace("SYNC", "")), 8 * THREADS, str(THREADS)), match)


def test_two_blocks_write_one_word() -> None:
    body = f"""
      %one = arith.constant 1.0 : f32
      SYNC
      %m = "fusion.peer_memory"(%s, %c0) : (SHARED, index) -> PEER
      affine.store %one, %m[PLACE, %t] : PEER
      {BARRIER}"""
    launch(clustered(body.replace("PLACE", "%r"), 8 * THREADS))
    refuse(
        clustered(body.replace("PLACE", "%c0"), 8 * THREADS),
        r"WAW race: thread 0 of block \(0.* block \(3, 0, 0\) wrote",
    )


@pytest.mark.parametrize("barrier", ["gpu.barrier", BARRIER, ""])
def test_barriers_of_a_block_order_its_threads_in_other_blocks(barrier: str) -> None:
    body = f"""
      %v = affine.load %x[%b * {THREADS} + %t] : BUFFER
      SYNC
      %p = affine.apply affine_map<(r) -> ((r + 1) mod {CLUSTER})>(%r)
      %m = "fusion.peer_memory"(%s, %p) : (SHARED, index) -> PEER
      affine.store %v, %m[0, %t] : PEER
      {barrier}
      %w = affine.load %m[0, {THREADS - 1} - %t] : PEER
      affine.store %w, %y[%b * {THREADS} + %t] : BUFFER
      SYNC"""
    text = clustered(body, 8 * THREADS)
    if barrier:
        launch(text)
    else:
        refuse(text, r"RAW race: thread 0 of .* that thread 31 of block \(0, 0, 0\) wrote with no barrier in between")


def test_several_readers_of_two_blocks_stay_known() -> None:
    """Block 1 reads, block 0 reads after its own barrier: block 0 must still wait for block 1."""
    body = f"""
      %v = affine.load %x[%b * {THREADS} + %t] : BUFFER
      affine.store %v, %s[%t] : SHARED
      SYNC
      %m = "fusion.peer_memory"(%s, %c0) : (SHARED, index) -> PEER
      %one = arith.cmpi eq, %r, %c1 : index
      %w = scf.if %one -> f32 {{
        %a = affine.load %m[%t] : PEER
        scf.yield %a : f32
      }} else {{
        scf.yield %v : f32
      }}
      gpu.barrier
      %zero = arith.cmpi eq, %r, %c0 : index
      scf.if %zero {{
        %a = affine.load %s[%t] : SHARED
        affine.store %a, %s[%t] : SHARED
      }}
      affine.store %w, %y[%b * {THREADS} + %t] : BUFFER
      {BARRIER}"""
    refuse(
        clustered(body, 8 * THREADS, str(THREADS)),
        r"WAR race: thread 0 of block \(0, 0, 0\) overwrites .*several blocks read",
    )


@pytest.mark.parametrize("mode", ["run", "check", "count"])
def test_ranks_have_bounds(mode: str) -> None:
    match = rf"rank {CLUSTER} is out of bounds of a cluster of {CLUSTER} blocks; thread 0 of block \(0, 0, 0\)"
    refuse(exchange(rank="p + 1"), match, mode=mode)


def test_indices_have_the_bounds_of_the_array() -> None:
    body = f"""
      SYNC
      %m = "fusion.peer_memory"(%s, %c0) : (SHARED, index) -> PEER
      %w = affine.load %m[%t + 1] : PEER
      {BARRIER}"""
    refuse(clustered(body, 8 * THREADS, str(THREADS)), r"index \[32\] is out of bounds of \[32\]")


def test_a_read_of_what_no_block_wrote() -> None:
    body = f"""
      SYNC
      %m = "fusion.peer_memory"(%s, %c0) : (SHARED, index) -> PEER
      %w = affine.load %m[%t] : PEER
      {BARRIER}"""
    text = clustered(body, 8 * THREADS, str(THREADS))
    refuse(text, "reads shared memory that no thread")
    _, counters = launch(text, uninitialised="count")
    assert counters.uninitialised_reads == 8 * THREADS


@pytest.mark.parametrize(
    ("condition", "match"),
    [
        ("%r, %c1", r"cluster in divergent control flow: 1 of 4 blocks reach it, first missing block \(0, 0, 0\)"),
        ("%t, %c1", r"barrier in divergent control flow: 1 of 32 threads reach it"),
        ("%cluster, %c1", None),
    ],
)
def test_all_blocks_of_a_cluster_meet_at_its_barriers(condition: str, match: str | None) -> None:
    body = f"""
      %cluster = affine.apply affine_map<(b) -> (b floordiv {CLUSTER})>(%b)
      %some = arith.cmpi eq, {condition} : index
      scf.if %some {{
        SYNC
      }}"""
    text = clustered(body, 8 * THREADS)
    if match:
        refuse(text, match)
    else:
        _, counters = launch(text)
        assert counters.cluster_barriers == CLUSTER


def test_only_clusters_that_arrived_are_in_a_new_epoch() -> None:
    body = f"""
      %cluster = affine.apply affine_map<(b) -> (b floordiv {CLUSTER})>(%b)
      %some = arith.cmpi eq, %cluster, %c1 : index
      scf.if %some {{
        SYNC
      }}
      %m = "fusion.peer_memory"(%s, %r) : (SHARED, index) -> PEER
      %one = arith.constant 1.0 : f32
      affine.store %one, %m[0, %t] : PEER
      scf.if %some {{
        %o = "fusion.peer_memory"(%s, %c0) : (SHARED, index) -> PEER
        affine.store %one, %o[%r, %t] : PEER
      }}
      {BARRIER}"""
    launch(clustered(body, 8 * THREADS))
    refuse(
        clustered(body.replace("%cluster, %c1", "%cluster, %cluster").replace("SYNC", ""), 8 * THREADS),
        r"block \(1, 0, 0\) reaches into the shared memory of block \(0, 0, 0\) before the first barrier",
    )


def test_dynamic_shared_memory_has_peers() -> None:
    body = f"""
      %d = gpu.dynamic_shared_memory : memref<?xi8, {{S}}>
      %s = memref.view %d[%c0][] : memref<?xi8, {{S}}> to SHARED
      {READ.replace("LAST", BARRIER)}"""
    text = clustered(body, 8 * THREADS, str(THREADS)).replace(
        f"workgroup(%s: memref<{THREADS}xf32", "workgroup(%u: memref<1xf32"
    )
    y, _ = launch(text)
    x = np.random.default_rng(0).integers(0, 100, 8 * THREADS).astype(np.float32).reshape(2, CLUSTER, THREADS)
    assert np.array_equal(y, np.roll(x, -1, axis=1).reshape(-1))


def test_grids_hold_whole_clusters() -> None:
    refuse(
        exchange(blocks=6), "runs in clusters of 4 blocks along x, which a grid of .6, 1, 1. does not hold", blocks=6
    )
    with pytest.raises(SimulationError, match="clusters along x only"):
        text = exchange().replace("array<i32: 4, 1, 1>", "array<i32: 1, 4, 1>")
        launch(text)


def test_only_barriers_of_blocks_and_clusters_are_known() -> None:
    refuse(clustered("\n      gpu.barrier scope <subgroup>", 8 * THREADS), "no barrier of a subgroup")
