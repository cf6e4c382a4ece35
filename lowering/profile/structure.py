"""The canonical structure of a group: what decides how fast its kernel is, and nothing else.

Equal text means equal groups up to the names of nodes and values and the order in which operations stand; the text is
whole, so that two different groups never share it. Values that play the same part (two inputs of one sum, say) are
told apart by colours: a hash of what a value is computed from, then of where it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlirfuse.dialect import Node, TensorType

__all__ = ["Operation", "structure_key", "structure_of"]

Value = Hashable


@dataclass(frozen=True)
class Operation:
    """One operation of a group: its node, the values that it reads and the one that it makes (any hashable name)."""

    node: Node
    operands: tuple[Value, ...]
    result: Value


def structure_of(
    operations: Sequence[Operation],
    outputs: Collection[Value],
    kinds: Mapping[Value, str] | None = None,
    layout: str = "",
    returned: Collection[Value] = (),
) -> str:
    """The canonical text of a group whose `operations` stand in a topological order.

    `outputs` are the values that others read, `returned` those that are results of the network; `kinds` tells what
    inputs are that are more than a value or a weight (an argument of the network, a splat's number), `layout` the
    memory order that types leave open (nchw, nhwc, ...).
    """
    group = _Group(operations, outputs, returned, kinds or {})
    order, numbers = group.canonical_order()
    inputs = [group.inputs[value] for value in numbers if value in group.inputs]
    ops = [[group.text[o.result], [numbers[v] for v in o.operands], numbers[o.result]] for o in order]
    results = sorted([numbers[v], group.result_kind(v)] for v in group.outputs)
    return _json({"inputs": inputs, "layout": layout, "ops": ops, "outputs": results})


def structure_key(text: str) -> str:
    """What a structure is filed under: a hash of its text."""
    return hashlib.sha256(text.encode()).hexdigest()


class _Group:
    def __init__(
        self,
        operations: Sequence[Operation],
        outputs: Collection[Value],
        returned: Collection[Value],
        kinds: Mapping[Value, str],
    ) -> None:
        self.operations, self.outputs, self.returned = operations, frozenset(outputs), frozenset(returned)
        self.text = {o.result: _operation_text(o.node) for o in operations}
        self.producers = {o.result: o for o in operations}
        self.inputs: dict[Value, list[Any]] = {}
        for o in operations:
            known = o.node.constant or (False,) * len(o.operands)
            for value, tensor, constant in zip(o.operands, o.node.inputs, known, strict=True):
                if value not in self.producers:
                    kind = "weight" if constant else "value"
                    self.inputs.setdefault(value, [_type(tensor), kinds.get(value, kind)])

    def result_kind(self, value: Value) -> str:
        """Who sees a value: nobody outside, other groups, or the caller of the network."""
        return "" if value not in self.outputs else "returned" if value in self.returned else "value"

    def canonical_order(self) -> tuple[list[Operation], dict[Value, int]]:
        """Operations and values as a walk from the outputs meets them, operands first."""
        colours = self._colours()
        order: list[Operation] = []
        numbers: dict[Value, int] = {}
        todo: list[tuple[Value, bool]] = [
            (v, False) for v in sorted(self.outputs, key=lambda v: colours[v], reverse=True)
        ]
        while todo:
            value, ready = todo.pop()
            if value in numbers:
                continue
            operation = self.producers.get(value)
            if operation is None or ready:
                numbers[value] = len(numbers)
                if operation is not None:
                    order.append(operation)
            else:
                todo.append((value, True))
                todo.extend((v, False) for v in reversed(operation.operands))
        return order, numbers

    def _colours(self) -> dict[Value, str]:
        """Up: what a value is computed from. Down: that, and how it is read, by whom."""
        up = {value: _hash(_json(facts)) for value, facts in self.inputs.items()}
        for o in self.operations:
            up[o.result] = _hash(self.text[o.result], *(up[v] for v in o.operands))
        readings: dict[Value, list[str]] = {value: [] for value in up}
        down: dict[Value, str] = {}
        for o in reversed(self.operations):
            down[o.result] = self._down(o.result, up, readings)
            for position, value in enumerate(o.operands):
                readings[value].append(f"{down[o.result]}.{position}")
        for value in self.inputs:
            down[value] = self._down(value, up, readings)
        colours = dict(down)
        for o in self.operations:  # twins that read values with different other readers
            colours[o.result] = _hash(down[o.result], *(colours[v] for v in o.operands))
        return colours

    def _down(self, value: Value, up: Mapping[Value, str], readings: Mapping[Value, Iterable[str]]) -> str:
        return _hash(up[value], self.result_kind(value), *sorted(readings[value]))


def _operation_text(node: Node) -> list[Any]:
    attributes = {name: _plain(value) for name, value in sorted(node.attrs.items())}
    return [node.op, attributes, [_type(t) for t in node.inputs], _type(node.out)]


def _type(tensor: TensorType) -> str:
    return str(tensor) if tensor.layout is None else f"{tensor}@{','.join(map(str, tensor.layout))}"


def _plain(value: Any) -> Any:
    if isinstance(value, bool | int | float | str):
        return value
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else str(value)


def _json(data: Any) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"))


def _hash(*parts: Any) -> str:
    text = "\0".join(part if isinstance(part, str) else _json(part) for part in parts)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
