"""Groups for tests, written down op by op, and their value in NumPy."""

import dataclasses

import numpy as np

from mlirfuse.dialect import Node, TensorType, semantics
from mlirfuse.lowering.groups.group import Group, Member


def tensor(*shape, dtype="float32", layout=None):
    return TensorType(tuple(shape), dtype, layout)


class GroupBuilder:
    """Collects operands and ops; `group(outputs)` freezes them."""

    def __init__(self):
        self.types, self.inputs, self.members, self.splats = [], [], [], []

    def input(self, *shape, dtype="float32", layout=None):
        self.types.append(tensor(*shape, dtype=dtype, layout=layout))
        self.inputs.append(len(self.types) - 1)
        return self.inputs[-1]

    def splat(self, value, dtype="float32"):
        self.types.append(tensor(dtype=dtype))
        self.splats.append((len(self.types) - 1, value))
        return len(self.types) - 1

    def op(self, name, *operands, constant=None, **attrs):
        inputs = tuple(self.types[v] for v in operands)
        constant = constant or tuple(False for _ in operands)
        node = Node(name, attrs, inputs, (), constant)
        node = dataclasses.replace(node, outputs=(semantics(name).infer(node),))
        assert semantics(name).complaint(node) is None, semantics(name).complaint(node)
        self.types.append(node.out)
        self.members.append(Member(node, operands, len(self.types) - 1))
        return len(self.types) - 1

    def conv(self, x, w, strides=None, pads=None, dilations=None, input_dilation=None, groups=1):
        rank = len(self.types[x].dims) - 2
        return self.op(
            "conv",
            x,
            w,
            constant=(False, True),
            strides=strides or (1,) * rank,
            pads=pads or (0,) * 2 * rank,
            dilations=dilations or (1,) * rank,
            input_dilation=input_dilation or (1,) * rank,
            groups=groups,
        )

    def pool(self, x, kind, kernel, strides, pads, sizes, count_include_pad=False, axes=None):
        rank = len(kernel)
        return self.op(
            "window",
            x,
            kind=kind,
            axes=axes or tuple(range(2, 2 + rank)),
            kernel=kernel,
            strides=strides,
            dilations=(1,) * rank,
            pads=pads,
            sizes=sizes,
            count_include_pad=count_include_pad,
        )

    def group(self, *outputs, layouts=None):
        types = [dataclasses.replace(t, layout=(layouts or {}).get(v, t.layout)) for v, t in enumerate(self.types)]
        return Group(tuple(types), tuple(self.inputs), tuple(self.members), tuple(outputs), tuple(self.splats))


def random_operands(group, seed=0):
    """An array for every operand, in its logical shape."""
    rng = np.random.default_rng(seed)

    def one(t):
        if t.dtype.startswith("float"):
            return rng.standard_normal(t.dims).astype(t.dtype)
        return rng.integers(0, 2 if t.dtype == "bool" else 4, t.dims).astype(t.dtype)

    return [one(group.types[v]) for v in group.inputs]


def reference(group, operands):
    """Every output by the ops' NumPy definitions."""
    values = dict(zip(group.inputs, operands, strict=True))
    for v, number in group.immediates:
        values[v] = np.full(group.types[v].dims, number, group.types[v].dtype)
    for m in group.members:
        values[m.result] = semantics(m.node.op).reference(m.node, *[values[v] for v in m.operands])
    return [values[v] for v in group.outputs]


def to_memory(array, t):
    """The flat buffer of an array in its type's memory order."""
    ordered = array.transpose(t.layout) if t.layout is not None else array
    return np.ascontiguousarray(ordered).reshape(-1).astype(np.int8 if t.dtype == "bool" else t.dtype)
