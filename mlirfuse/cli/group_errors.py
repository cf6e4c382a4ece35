"""Each group of a network against the references of its ops, on the very values that the compiled network computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlirfuse.cli.accuracy import LIMITS, coarsest, relative_error
from mlirfuse.cli.watched import stored_name
from mlirfuse.dialect import WeightStore, onnx_nodes, type_from_mlir
from mlirfuse.frontend.reference import run_op
from mlirfuse.lowering.pipeline.locations import Location, locate_values
from mlirfuse.lowering.plan.graph import main_function
from mlirfuse.mlir import context, ir

__all__ = ["GroupError", "group_errors"]


@dataclass(frozen=True)
class GroupError:
    """One result of one group: `node` is the ONNX node that makes it. `at` is the worst element, with both values.

    `limit` is how large the error may be: what is right for the coarsest type that the group rounds to.
    """

    group: int
    nodes: tuple[str, ...]
    node: str
    error: float
    limit: float
    note: str = ""
    at: tuple[int, ...] = ()
    found: float | None = None
    expected: float | None = None


def group_errors(
    scheduled: str,
    store: WeightStore,
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    precision: str,
    tell: Callable[[str], None] = lambda text: None,
) -> list[GroupError]:
    """An entry for every result of every group.

    `outputs` are those of the watched network, computed in `precision`; `scheduled` is the text of the stage that it
    came from.
    """
    with context(), store.active():
        module = ir.Module.parse(scheduled)
        function = main_function(module.operation)
        locations = locate_values(function)
        block = function.regions[0].blocks[0]
        names = [attribute.value for attribute in function.attributes["fusion.inputs"]]
        values: dict[Any, Any] = {
            argument: np.asarray(inputs[name]) for name, argument in zip(names, block.arguments, strict=True)
        }
        errors: list[GroupError] = []
        launch = 0
        for view in block.operations:
            op = view.operation
            if op.name == "func.return":
                break
            if op.name != "fusion.group":
                values.update(zip(op.results, run_op(op, [values[v] for v in op.operands], store), strict=True))
                continue
            tell(" ".join(onnx_nodes(op)))
            wanted, makers = _reference(op, values, store)
            limit = LIMITS[coarsest(precision, _types(op))]
            for number, result in enumerate(op.results):
                found = _logical(outputs[stored_name(launch, number)], locations[result])
                errors.append(_compare(launch, op, makers[number], limit, found, np.asarray(wanted[number])))
                values[result] = found
            launch += 1
    return errors


def _reference(group: Any, values: Mapping[Any, Any], store: WeightStore) -> tuple[list[Any], list[str]]:
    """What the group's results should be, and the ONNX node that makes each."""
    block = group.regions[0].blocks[0]
    inside: dict[Any, Any] = {argument: values[v] for argument, v in zip(block.arguments, group.operands, strict=True)}
    makers: dict[Any, str] = {}
    for view in block.operations:
        op = view.operation
        if op.name == "fusion.yield":
            return [inside[v] for v in op.operands], [makers.get(v, "") for v in op.operands]
        results = run_op(op, [inside[v] for v in op.operands], store)
        inside.update(zip(op.results, results, strict=True))
        makers.update(dict.fromkeys(op.results, (onnx_nodes(op) or ("",))[-1]))
    raise AssertionError("a group ends with fusion.yield")


def _types(group: Any) -> set[str]:
    """The element types of what is computed in a group."""
    results = (result for view in group.regions[0].blocks[0].operations for result in view.operation.results)
    return {type_from_mlir(result.type).dtype for result in results}


def _logical(stored: Any, location: Location) -> Any:
    """The tensor in its logical shape, from elements in memory order."""
    dims = tuple(n or 0 for n in location.tensor.shape)
    flat = np.asarray(stored)
    strides = tuple(s * flat.itemsize for s in location.strides)
    dense = np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, dims, strides))
    return dense.view(np.bool_) if location.tensor.dtype == "bool" else dense


def _compare(launch: int, op: Any, node: str, limit: float, found: Any, wanted: Any) -> GroupError:
    nodes = tuple(onnx_nodes(op))
    wanted = wanted.astype(found.dtype) if wanted.dtype != found.dtype else wanted
    error, note = relative_error(found, wanted)
    if found.shape != wanted.shape or found.size == 0:
        return GroupError(launch, nodes, node, error, limit, note)
    difference = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
    worst = np.unravel_index(int(np.argmax(difference)), difference.shape)  # argmax finds not-a-numbers first
    place = tuple(int(i) for i in worst)
    return GroupError(launch, nodes, node, error, limit, note, place, float(found[worst]), float(wanted[worst]))
