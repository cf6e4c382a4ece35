"""Running a module of fusion ops in NumPy: the definition of what a compiled model computes.

Every op is run by its own `reference`, groups by running their bodies, fall-backs by the host. Works at the stages
`graph` and `planned`; `observe` sees every value on the way, for comparisons of one group at a time.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mlirfuse.dialect import WeightStore, attribute_value, node_of, semantics, type_from_mlir
from mlirfuse.errors import MlirfuseError
from mlirfuse.frontend.host_node import decode_node, run_host_node
from mlirfuse.mlir import ir

__all__ = ["interpret", "run_op"]

Observer = Callable[[Any, tuple[Any, ...]], None]


def interpret(
    module: ir.Module, store: WeightStore, inputs: Mapping[str, Any], observe: Observer | None = None
) -> dict[str, Any]:
    """The outputs of @main by name. `observe(op, results)` is called after every op outside and inside groups."""
    main = next(op for op in module.body.operations if op.operation.name == "func.func")
    names = [attr.value for attr in ir.ArrayAttr(main.operation.attributes["fusion.inputs"])]
    outputs = [attr.value for attr in ir.ArrayAttr(main.operation.attributes["fusion.outputs"])]
    block = main.operation.regions[0].blocks[0]
    arguments = []
    for name, argument in zip(names, block.arguments, strict=True):
        expected = type_from_mlir(argument.type)
        array = np.asarray(inputs[name])
        if (array.shape, array.dtype.name) != (expected.shape, expected.dtype):
            raise MlirfuseError(
                f"the input '{name}' must be {expected}; found {'x'.join(map(str, array.shape))} {array.dtype.name}."
            )
        arguments.append(array)
    return dict(zip(outputs, _run_block(block, arguments, store, observe), strict=True))


def _run_block(block: Any, arguments: list[Any], store: WeightStore, observe: Observer | None) -> list[Any]:
    values: dict[Any, Any] = dict(zip(block.arguments, arguments, strict=True))
    readers = _last_readers(block)
    for index, op in enumerate(block.operations):
        operation = op.operation
        operands = [values[v] for v in operation.operands]
        if operation.name in ("func.return", "fusion.yield"):
            return operands
        if operation.name == "fusion.group":
            results = _run_block(operation.regions[0].blocks[0], operands, store, observe)
        else:
            results = run_op(operation, operands, store)
        values.update(zip(operation.results, results, strict=True))
        if observe is not None:
            observe(operation, tuple(results))
        for value in readers.get(index, ()):
            del values[value]
    raise MlirfuseError(
        "the module has a block without func.return or fusion.yield; it is not at stage graph or planned."
    )


def _last_readers(block: Any) -> dict[int, list[Any]]:
    """Which values nothing reads after each op, so that whole networks fit in memory."""
    last: dict[Any, int] = {}
    for index, op in enumerate(block.operations):
        for value in op.operation.operands:
            last[value] = index
    gone: dict[int, list[Any]] = {}
    for value, index in last.items():
        gone.setdefault(index, []).append(value)
    return gone


def run_op(operation: Any, operands: list[Any], store: WeightStore) -> list[Any]:
    """The results of one op on arrays."""
    match operation.name:
        case "fusion.weight":
            key = attribute_value(operation, "key")
            array = store.get(key)
            if array is None:
                raise MlirfuseError(
                    f"the weight {key} is not in the store; load the safetensors file that belongs to the module."
                )
            return [np.asarray(array).reshape(type_from_mlir(operation.results[0].type).dims)]
        case "fusion.splat":
            result = type_from_mlir(operation.results[0].type)
            return [np.broadcast_to(np.asarray(attribute_value(operation, "value")).astype(result.dtype), result.dims)]
        case "fusion.fallback":
            node = decode_node(attribute_value(operation, "node"))
            return run_host_node(
                node, attribute_value(operation, "opset"), operands, attribute_value(operation, "domains", ())
            )
    return [semantics(operation.name).reference(node_of(operation), *operands)]
