"""fusion.peer_memory: what it takes, and what it refuses."""

import pytest

from mlirfuse.dialect.indexing import Expr
from mlirfuse.lowering.gpu.frame import kernel_frame
from mlirfuse.lowering.groups.group import Group
from mlirfuse.mlir import context, ir

SHARED, PEER = "memref<4x8xf32, #gpu.address_space<workgroup>>", "memref<4x8xf32, 7>"


def parse(shared: str = SHARED, rank: str = "index", peer: str = PEER) -> None:
    with context():
        op = f'"fusion.peer_memory"(%s, %r) : ({shared}, {rank}) -> {peer}'
        ir.Module.parse(f"func.func @f(%s: {shared}, %r: {rank}) {{ %p = {op} return }}").operation.verify()


def test_gives_the_array_in_shared_cluster_memory() -> None:
    parse()


@pytest.mark.parametrize(
    ("types", "complaint"),
    [
        ({"shared": "tensor<4x8xf32>"}, "takes a shared array, not tensor<4x8xf32>"),
        ({"rank": "i32"}, "takes the rank of a block as an index, not i32"),
        (
            {"shared": "memref<4x8xf32>"},
            "takes a whole static array in #gpu.address_space<workgroup>, not memref<4x8xf32>",
        ),
        ({"shared": SHARED.replace("4x8", "4x?")}, "takes a whole static array"),
        ({"shared": SHARED.replace("f32,", "f32, strided<[16, 1]>,")}, "takes a whole static array"),
        ({"peer": "memref<4x8xf32>"}, "should give memref<4x8xf32, 7>, but its result is declared memref<4x8xf32>"),
        ({"peer": "memref<8x4xf32, 7>"}, "should give memref<4x8xf32, 7>"),
    ],
)
def test_refuses_other_types(types: dict[str, str], complaint: str) -> None:
    with pytest.raises(ir.MLIRError) as raised:
        parse(**types)
    assert f"'fusion.peer_memory' op {complaint}" in str(raised.value)


@pytest.mark.parametrize("cluster", [1, 4])
def test_a_frame_has_clusters(cluster: int) -> None:
    """The frame of a kernel declares the cluster, numbers its blocks, and reaches the others."""
    empty = Group((), (), (), ())
    with (
        context(),
        kernel_frame("k", empty, {}, threads=32, grid=(8,), shared_shapes=[(4, 8)], cluster=cluster) as made,
    ):
        module, frame = made
        assert (frame.cluster, frame.rank.range) == (cluster, (0, cluster - 1))
        if cluster > 1:
            frame.cluster_barrier()
            assert str(frame.peer_memory(frame.shared[0], Expr(cluster - 1) - frame.rank).type) == PEER
            frame.cluster_barrier()
    module.operation.verify()
    text = str(module)
    assert text.count("gpu.barrier scope <cluster>") == text.count("gpu.cluster_block_id x") * 2
    assert ("gpu.known_cluster_size = array<i32: 4, 1, 1>, " in text) == (cluster > 1)
    assert ("nvvm.cluster_dim = array<i32: 4, 1, 1>, " in text) == (cluster > 1)
