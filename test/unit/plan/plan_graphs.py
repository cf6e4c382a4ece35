"""Graphs for planner tests, written down op by op."""

import dataclasses

from mlirfuse.dialect import Node, TensorType, semantics
from mlirfuse.lowering.plan.graph import Graph, GraphNode
from mlirfuse.lowering.plan.resources import ResourceModel

# Every kind of machine that plans are made for.
DEVICES = ("host", "sm_80", "sm_90", "sm_120", "titan-xp", "intel-xe-lp", "mali-g710")


class GraphBuilder:
    """Each method adds a node and returns its index; operands are indices, or types of what nothing computes."""

    def __init__(self):
        self.entries = []

    def op(self, op, *operands, name="", constant=(), returned=False, **attrs):
        inputs = tuple(o if isinstance(o, TensorType) else self.entries[o].node.out for o in operands)
        known = tuple(i in constant for i in range(len(operands)))
        node = Node(op, attrs, inputs, (), known)
        node = dataclasses.replace(node, outputs=(semantics(op).infer(node),))
        assert semantics(op).complaint(node) is None, semantics(op).complaint(node)
        return self._add(node, operands, name, returned=returned)

    def conv(self, x, channels=None, name="", kernel=3, stride=1, **extra):
        shape = (x if isinstance(x, TensorType) else self.entries[x].node.out).shape
        rank, pad = len(shape) - 2, kernel // 2
        weight = TensorType((channels or shape[1], shape[1], *[kernel] * rank))
        return self.op(
            "conv", x, weight, name=name, constant=(1,), strides=(stride,) * rank, pads=(pad,) * (2 * rank),
            dilations=(1,) * rank, input_dilation=(1,) * rank, groups=1, **extra,
        )  # fmt: skip

    def unary(self, kind, x, **extra):
        return self.op("unary", x, kind=kind, **extra)

    def binary(self, kind, a, b, **extra):
        return self.op("binary", a, b, kind=kind, **extra)

    def boundary(self, op, *operands, why="it runs on the host", **attrs):
        index = self.op(op, *operands, **attrs)
        self.entries[index] = dataclasses.replace(self.entries[index], boundary=why)
        return index

    def _add(self, node, operands, name, returned=False):
        self.entries.append(
            GraphNode(
                len(self.entries),
                node,
                semantics(node.op).mapping(node),
                tuple(None if isinstance(o, TensorType) else o for o in operands),
                onnx_nodes=(name,) if name else (),
                returned=returned,
            )
        )
        return len(self.entries) - 1

    def graph(self):
        """The graph; what nothing reads is returned."""
        graph = Graph.of(self.entries)
        return Graph.of([dataclasses.replace(n, returned=n.returned or not n.users) for n in graph])


def image(channels=8, size=16, batch=1):
    return TensorType((batch, channels, size, size))


def vector(channels=8):
    return TensorType((channels, 1, 1))


def check_plan(graph, plan):
    """Every node is in one block, blocks can run in their order, and each edge between two has a verdict."""
    block_of = check_partition(graph, plan)
    cut = {(p, c) for p, c in graph.edges if p not in block_of or c not in block_of or block_of[p] != block_of[c]}
    assert {(p, c) for p, c, _ in plan.verdicts} == cut
    assert all(v.reason for _, _, v in plan.verdicts)
    return [tuple(block) for block in plan.blocks]


def check_partition(graph, plan):
    """Every node is in one block, whose number is returned by node, and blocks can run in their order.

    Of nodes outside of all groups, concatenations may be between the layers of one kernel.
    """
    block_of = {m: i for i, block in enumerate(plan.blocks) for m in block}
    absorbed = {n.index for n in graph if n.boundary and n.node.op == "concat" and set(n.inputs) <= set(block_of)}
    assert set(block_of) - absorbed == {n.index for n in graph if not n.boundary}
    assert sum(len(b) for b in plan.blocks) == len(block_of)
    done = set()
    waiting = [n.index for n in graph if n.index not in block_of]
    order = list(plan.blocks)
    while order or waiting:
        free = [n for n in waiting if all(p in done for p in graph[n].inputs)]
        done.update(free)
        waiting = [n for n in waiting if n not in done]
        if order and all(p in done or p in order[0] for m in order[0] for p in graph[m].inputs):
            done.update(order.pop(0))
        else:
            assert free, f"block {order[0]} reads what is made later"
    return block_of


def check_profit(graph, plan, model=None):
    """No block takes longer, by the model, than its operations would one by one; layers, than their kernels would."""
    model = model or ResourceModel()
    proofs = {last: proof.numbers for last, proof in plan.proofs}
    for block in plan.blocks:
        numbers = proofs.get(max((m for m in block if graph[m].is_anchor), default=-1), {})
        if "seconds_together" in numbers:
            assert numbers["seconds_together"] < numbers["seconds_apart"], f"{block} takes longer than its parts"
            continue
        apart = sum(model.seconds(graph, (m,)) for m in block)
        assert model.seconds(graph, block) <= apart * (1 + 1e-9), f"{block} takes longer than its parts: {apart}"


def is_quantified(verdict):
    """Whether a verdict names the numbers that decided, or the cell of the table.

    What an edge moves is enough where one side is outside of all groups: nothing else was asked.
    """
    deciding = [v for name, v in verdict.numbers.items() if name != "bytes" or verdict.kind == "boundary"]
    return bool(deciding) and all(v == v for v in deciding)
