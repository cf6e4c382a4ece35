"""gpu: coordinates, barriers, shuffles, dynamic shared memory."""

import re
from typing import Any

from mlirfuse.simulator.registry import translates
from mlirfuse.simulator.translator import MemRef, Translator


def _axis(op: Any) -> int:
    match = re.search(r"dim ([xyz])", str(op.attributes["dimension"]))
    assert match is not None
    return "xyz".index(match.group(1))


COORDINATES = {
    "gpu.thread_id": "rt.thread[{}]",
    "gpu.block_id": "rt.block[{}]",
    "gpu.cluster_block_id": "rt.rank[{}]",
    "gpu.block_dim": "rt.block_size[{}]",
    "gpu.grid_dim": "rt.grid_size[{}]",
    "gpu.global_id": "rt.thread[{0}]+rt.block[{0}]*rt.block_size[{0}]",
}


@translates(*COORDINATES)
def coordinate(t: Translator, op: Any) -> None:
    """Along x, y or z."""
    t.define_pure(op, COORDINATES[op.name].format(_axis(op)))


@translates("gpu.lane_id", "gpu.subgroup_id")
def place_in_warp(t: Translator, op: Any) -> None:
    """Threads are numbered x first; 32 of them make a warp."""
    t.define_pure(op, "rt.linear_thread%32" if op.name == "gpu.lane_id" else "rt.linear_thread//32")


@translates("gpu.subgroup_size")
def subgroup_size(t: Translator, op: Any) -> None:
    """32"""
    t.define_pure(op, "32")


@translates("gpu.barrier")
def barrier(t: Translator, op: Any) -> None:
    """Every thread of a block, or of a cluster, must arrive, or none."""
    scope = str(op.attributes["scope"]) if "scope" in op.attributes else "<workgroup>"
    if "subgroup" in scope:
        raise t.refuse(op, "the simulator has no barrier of a subgroup")
    method = "cluster_barrier" if "cluster" in scope else "barrier"
    t.line(f"rt.{method}({t.site(op)}, {t.mask})")


@translates("gpu.shuffle")
def shuffle(t: Translator, op: Any) -> None:
    """(the value of another lane of the warp, whether that lane is inside the width)"""
    match = re.search(r"shuffle_mode (\w+)", str(op.attributes["mode"]))
    assert match is not None
    value, offset, width = t.refs(op.operands)
    names = [t.fresh(), t.fresh()]
    t.line(
        f"{names[0]}, {names[1]} = rt.shuffle({t.site(op)}, {t.mask}, {match.group(1)!r}, {value}, {offset}, {width})"
    )
    for result, name in zip(op.results, names, strict=True):
        t.bind(result, name)


@translates("gpu.dynamic_shared_memory")
def dynamic_shared_memory(t: Translator, op: Any) -> None:
    """Bytes that only memref.view can use."""
    t.dynamic_shared.add(hash(op.results[0]))


@translates("fusion.peer_memory")
def peer_memory(t: Translator, op: Any) -> None:
    """The same shared array of another block of the cluster."""
    source = t.memrefs[hash(op.operands[0])]
    name = t.pure(f"rt.peer({source.name}, {t.ref(op.operands[1])})")
    description = f"{source.description} of a block of the cluster"
    t.memrefs[hash(op.results[0])] = MemRef(name, source.space, source.element, source.view, description)
