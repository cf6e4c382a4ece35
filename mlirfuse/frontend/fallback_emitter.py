"""Nodes that run on the host, as fusion.fallback."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import onnx

from mlirfuse.dialect import TensorType, build
from mlirfuse.errors import UnsupportedOp
from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.fallback import Island, Opaque, encoded, infer_outputs, island_of, tensor_type
from mlirfuse.frontend.model import ImportedModel
from mlirfuse.frontend.registry import InvalidNode
from mlirfuse.frontend.tensor import Tensor, too_large
from mlirfuse.mlir import ir
from mlirfuse.subgraphs import captured_names

__all__ = ["FallbackEmitter", "Scope"]

Scope = dict[str, "Tensor | Opaque | None"]


class FallbackEmitter:
    """Emits the nodes of one model that have no rule."""

    def __init__(self, model: ImportedModel, builder: OpBuilder) -> None:
        self.model = model
        self.builder = builder
        self._inferred: dict[str, onnx.TypeProto] | None = None

    def emit(self, node: onnx.NodeProto, scope: Scope, opsets: Mapping[str, int]) -> Scope:
        """The outputs of `node` as results of fusion.fallback, or Opaque where no tensor can hold them."""
        names = dict.fromkeys((*filter(None, node.input), *captured_names(node)))
        island = island_of(node, {name: scope[name] for name in names}, opsets)  # type: ignore[misc]
        outputs = [name for name in node.output if name]
        inferred = infer_outputs(island, outputs)
        if not inferred and not _runnable(node):
            raise UnsupportedOp(
                f"{self.model.name}: the node '{node.name}' is of type {node.domain}.{node.op_type}, neither an "
                "ONNX operator nor a function of the model; register a rule for it (entry point group "
                "mlirfuse.importers) or replace the node."
            )
        types = {name: tensor_type([inferred.get(name), self._whole_model_type(name)]) for name in outputs}
        held = [name for name in outputs if types[name] is not None]
        results: Scope = {name: Opaque(name, island) for name in outputs if types[name] is None}
        if held:
            results |= self._build(node, island, held, [types[name] for name in held])  # type: ignore[misc]
        return results

    def _build(self, node: onnx.NodeProto, island: Island, outputs: list[str], types: list[TensorType]) -> Scope:
        if excess := next(filter(None, map(too_large, types)), None):
            raise InvalidNode(f"makes a tensor {excess}")
        attrs, operands = encoded(island, node.name, outputs)
        values = [self.builder.value(operand, dense=True) for operand in operands]
        names = tuple(dict.fromkeys(n.name for n in island.nodes))
        try:
            made = build("fallback", values, attrs, result=types, onnx_nodes=names, loc=ir.Location.name(node.name))
        except ValueError as error:
            raise UnsupportedOp(
                f"{self.model.name}: the node '{node.name}' ({node.op_type}) would run on the host, but {error}; give "
                "neighbouring inputs or outputs one type, or split the node."
            ) from error
        self.builder.emitted.append(made[0].owner)
        return {name: Tensor(kind, value=value) for name, kind, value in zip(outputs, types, made, strict=True)}

    def _whole_model_type(self, name: str) -> onnx.TypeProto | None:
        """What inference over the whole model, and the model's own annotations, say of a value."""
        if self._inferred is None:
            declared = self.model.declared
            with contextlib.suppress(Exception):  # then the model's own annotations have to do
                declared = onnx.shape_inference.infer_shapes(declared, data_prop=True)
            self._inferred = {value.name: value.type for value in (*declared.graph.value_info, *declared.graph.output)}
        return self._inferred.get(name)


def _runnable(node: onnx.NodeProto) -> bool:
    """Whether something on the host may know the operator."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    return node.domain == "com.microsoft" or onnx.defs.has(node.op_type, domain)
