"""Groups of every kernel template in 16-bit floats, and what they give when only operands and results are rounded."""

import dataclasses

import numpy as np
from attention_groups import attention
from block_groups import BLOCKS
from group_builder import GroupBuilder, random_operands, reference

from mlirfuse.lowering.schedule.simt import ContractTiles, MapTiles, RowTiles, TeamTiles

__all__ = ["HALF_GROUPS", "exact_and_operands", "halved"]


def halved(group, dtype="float16"):
    """The group with `dtype` wherever it has float32."""

    def types(found):
        return tuple(dataclasses.replace(t, dtype=dtype) if t.dtype == "float32" else t for t in found)

    members = tuple(
        dataclasses.replace(
            m, node=dataclasses.replace(m.node, inputs=types(m.node.inputs), outputs=types(m.node.outputs))
        )
        for m in group.members
    )
    return dataclasses.replace(group, types=types(group.types), members=members)


def exact_and_operands(group, dtype="float16"):
    """What a group of float32 gives in single precision for operands of `dtype`, and these."""
    operands = [a.astype(dtype) if a.dtype == np.float32 else a for a in random_operands(group)]
    single = [a.astype(np.float32) if a.dtype == dtype else a for a in operands]
    return reference(group, single), operands


def convolution():
    b = GroupBuilder()
    y = b.conv(b.input(2, 6, 9, 7), b.input(20, 6, 3, 3), pads=(1, 1, 1, 1))
    return b.group(b.op("unary", y, kind="relu"))


def product():
    """Rows of whole vectors: four elements of eight bytes at once."""
    b = GroupBuilder()
    y = b.op("contract", b.input(48, 64), b.input(64, 40), constant=(False, True), equation="mk,kn->mn")
    return b.group(b.op("binary", y, b.input(48, 40), kind="add"))


def rows(op, **attributes):
    b = GroupBuilder()
    x = b.op("binary", b.input(5, 200), b.splat(2.0), kind="mul")
    return b.group(b.op("unary", b.op(op, x, axes=(1,), **attributes), kind="tanh"))


def sums():
    b = GroupBuilder()
    y = b.op("reduce", b.op("unary", b.input(7, 300), kind="abs"), kind="mean", axes=(1,), keepdims=False)
    return b.group(b.op("unary", y, kind="sqrt"))


def moved():
    b = GroupBuilder()
    x = b.op("transpose", b.input(4, 6, 12), perm=(2, 0, 1))
    return b.group(b.op("binary", x, b.input(12, 4, 6), kind="add"), x)


def pooled():
    b = GroupBuilder()
    x = b.input(1, 5, 8, 8)
    return b.group(b.pool(x, "max", (3, 3), (2, 2), (1, 1, 1, 1), (4, 4)))


def separate():
    b = GroupBuilder()
    x = b.input(1, 16, 9, 12)
    three = b.op("unary", b.conv(x, b.input(24, 16, 3, 3), pads=(1, 1, 1, 1)), kind="relu")
    return b.group(three, b.conv(x, b.input(40, 16, 1, 1)))


# name -> (the group in float32, its schedule or None for the one that is chosen)
HALF_GROUPS = {
    "map": (moved(), MapTiles(64, 1)),
    "map of vectors": (moved(), MapTiles(32, 4)),
    "window": (pooled(), MapTiles(64, 1)),
    "team": (sums(), TeamTiles(64, 32, 1)),
    "block as a team": (sums(), TeamTiles(128, 128, 4)),
    "softmax": (rows("softmax", log=False), RowTiles(128, 32, True)),
    "normalization": (rows("normalize", epsilon=1e-5), RowTiles(64, 64, False)),
    "convolution in register tiles": (convolution(), ContractTiles(32, 32, 8, 4, 4)),
    "product in register tiles": (product(), ContractTiles(32, 32, 8, 4, 4)),
    "attention": (attention(), None),
    "side by side": (separate(), None),
    **{name: (BLOCKS[name]()[0], None) for name in ("fire", "inverted residual", "shuffle unit", "dense layer")},
}
