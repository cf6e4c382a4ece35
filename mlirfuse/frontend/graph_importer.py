"""From an ONNX model to a module of fusion ops at stage `graph`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from mlirfuse.dialect import TensorType, WeightStore, type_to_mlir
from mlirfuse.errors import InvalidModel, UnsupportedOp
from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.expansion import Expansion, expansion_of, inlined, renamed_branch
from mlirfuse.frontend.fallback import Opaque
from mlirfuse.frontend.fallback_emitter import FallbackEmitter, Scope
from mlirfuse.frontend.host_node import run_host_node
from mlirfuse.frontend.model import ImportedModel, load_model
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, rule_for
from mlirfuse.frontend.tensor import Tensor, known
from mlirfuse.mlir import func, ir
from mlirfuse.subgraphs import captured_names

__all__ = ["GraphImporter", "NodeStatus", "import_model"]

_ANY_SHAPE = ("Identity", "Shape", "Size")  # rules that read no dimension which may be unknown


@dataclass(frozen=True)
class NodeStatus:
    """How one node of a model compiles: `status` is native, fallback or invalid; `reason` says why, unless native."""

    name: str
    op_type: str
    status: str
    reason: str = ""


def import_model(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto | ImportedModel,
    store: WeightStore,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    strict: bool = False,
) -> ir.Module:
    """The module of a model at stage `graph`, made in the entered context; its weights go into `store`.

    With `strict`, UnsupportedOp lists every node that would run on the host.
    """
    importer = GraphImporter(load_model(model, shapes), store)
    module = importer.run()
    fallbacks = [s for s in importer.statuses if s.status == "fallback"]
    if strict and fallbacks:
        listed = "; ".join(f"'{s.name}' ({s.op_type}): {s.reason}" for s in fallbacks)
        raise UnsupportedOp(
            f"{importer.model.name}: {len(fallbacks)} of {len(importer.statuses)} nodes have no kernels and would run "
            f"on the host, which strict forbids: {listed}. Compile without strict, or change these nodes."
        )
    return module


class GraphImporter:
    """Imports one model once. With `tolerant`, an invalid node is noted and its readers are skipped."""

    def __init__(self, model: ImportedModel, store: WeightStore, *, tolerant: bool = False) -> None:
        self.model = model
        self.builder = OpBuilder(store, model.rebatch)
        self.statuses: list[NodeStatus] = []
        self.tolerant = tolerant
        self._opsets: Mapping[str, int] = dict(model.opsets)
        self._inside_function = False
        self._fallbacks = FallbackEmitter(model, self.builder)

    def run(self) -> ir.Module:
        """Build the module and verify it."""
        model = self.model
        module = ir.Module.create(ir.Location.name(model.name))
        attributes = module.operation.attributes
        attributes["fusion.stage"] = ir.StringAttr.get("graph")
        attributes["fusion.model"] = ir.StringAttr.get(model.name)
        types = [type_to_mlir(spec.type) for spec in model.inputs]
        with ir.InsertionPoint(module.body):
            main = func.FuncOp("main", ir.FunctionType.get(types, []))
        main.attributes["fusion.inputs"] = _strings([spec.name for spec in model.inputs])
        main.attributes["fusion.outputs"] = _strings(model.outputs)
        block = main.add_entry_block([ir.Location.name(spec.name) for spec in model.inputs])
        with ir.InsertionPoint(block):
            results = self._import_graph(list(block.arguments))
            func.ReturnOp(results)
        signature = ir.FunctionType.get(types, [value.type for value in results])
        main.attributes["function_type"] = ir.TypeAttr.get(signature)
        module.operation.verify()
        return module

    def _import_graph(self, arguments: Sequence[Any]) -> list[Any]:
        model, scope = self.model, Scope()
        for name, array in model.weights.items():
            scope[name] = _known_weight(array)
            self.builder.name_constant(scope[name], name)  # type: ignore[arg-type]
        for spec, argument in zip(model.inputs, arguments, strict=True):
            empty = spec.type.size == 0
            scope[spec.name] = (
                known(np.zeros(spec.type.dims, spec.type.dtype)) if empty else Tensor(spec.type, value=argument)
            )
        for node in model.nodes:
            self.import_node(node, scope)
        return (
            []
            if self.tolerant and self._has_invalid()
            else [self._returned(name, scope[name]) for name in model.outputs]
        )

    def _has_invalid(self) -> bool:
        return any(s.status == "invalid" for s in self.statuses)

    def _returned(self, name: str, value: Tensor | Opaque | None) -> Any:
        if isinstance(value, Tensor) and value.representable:
            self.builder.node_name = name
            return self.builder.value(value, dense=True)
        raise UnsupportedOp(
            f"{self.model.name}: the output '{name}' is no tensor of numbers or booleans with a known rank "
            "(a sequence, strings, or an unknown shape); only such tensors can be outputs of a compiled model."
        )

    # --- nodes ------------------------------------------------------------------------------------

    def import_node(self, node: onnx.NodeProto, scope: Scope) -> None:
        """Define the outputs of `node` in `scope`: by its rule, as constants, by expansion, or on the host."""
        self.builder.node_name = node.name
        mark = len(self.builder.emitted)
        try:
            missing = [n for n in (*filter(None, node.input), *captured_names(node)) if scope[n] is None]
            if missing:
                raise InvalidNode(f"reads '{missing[0]}', which an invalid node makes")
            try:
                results = self.native(node, scope)
                status = NodeStatus(node.name, node.op_type, "native")
            except NoRule as reason:
                self.builder.undo(mark)
                results = self._fallbacks.emit(node, scope, self._opsets)
                status = NodeStatus(node.name, node.op_type, "fallback", str(reason))
                if all(isinstance(r, Tensor) and r.known for r in results.values()):
                    status = NodeStatus(node.name, node.op_type, "native")
        except InvalidNode as complaint:
            status = NodeStatus(node.name, node.op_type, "invalid", str(complaint))
            if not self.tolerant:
                raise InvalidModel(
                    f"{self.model.name}: the node '{node.name}' ({node.op_type}) {complaint}. "
                    "Correct the model or the shapes given for its inputs."
                ) from complaint
            self.builder.undo(mark)
            results = dict.fromkeys(filter(None, node.output))
        self.statuses.append(status)
        scope.update(results)

    def native(self, node: onnx.NodeProto, scope: Scope) -> Scope:
        """The outputs of `node` without the host; NoRule where that cannot be."""
        inputs = [scope[name] if name else None for name in node.input]
        if any(isinstance(value, Opaque) for value in inputs):
            raise NoRule("an input is no tensor that kernels can hold")
        if node.op_type not in _ANY_SHAPE and any(isinstance(value, Tensor) and not value.static for value in inputs):
            raise NoRule("an input has dimensions that are known only at run time")
        call = NodeCall(node, node.name, self._opset(node.domain), inputs)  # type: ignore[arg-type]
        rule = rule_for(node.domain, node.op_type)
        reason: NoRule | None = None
        if rule is not None:
            mark = len(self.builder.emitted)
            try:
                return _named(node, rule(self.builder, call))
            except NoRule as refused:
                self.builder.undo(mark)
                reason = refused
        if node.op_type == "If" and node.domain in ("", "ai.onnx"):
            return self._chosen_branch(call, scope)
        constant = call.inputs and all(t is None or t.known for t in call.inputs) and not captured_names(node)
        if constant and (folded := self._evaluated(call)) is not None:
            return folded
        expansion = expansion_of(self.model, call)
        if expansion is None:
            raise reason or NoRule(f"there is no rule for {node.op_type}")
        return self._expanded(call, expansion, scope)

    def _opset(self, domain: str) -> int:
        return self._opsets.get("" if domain == "ai.onnx" else domain, 1)

    def _evaluated(self, call: NodeCall) -> Scope | None:
        """A node whose inputs are all known, run at once; None if that fails."""
        given = call.given()
        if call.proto.domain not in ("", "ai.onnx") or any(not t.representable for t in given):
            return None
        proto = onnx.NodeProto()
        proto.CopyFrom(call.proto)
        try:
            arrays = run_host_node(proto, call.opset, [np.asarray(t.array) for t in given])
        except Exception:  # then it is a fall-back like any other
            return None
        results = dict(zip([o for o in proto.output if o], map(_known_weight, arrays), strict=True))
        return results if all(r.representable for r in results.values()) else None

    def _chosen_branch(self, call: NodeCall, scope: Scope) -> Scope:
        """If with a condition that is known: the nodes of the branch, in place."""
        condition = call.array(0, "condition")
        assert condition is not None
        graph = call.attr("then_branch" if bool(np.asarray(condition).reshape(-1)[0]) else "else_branch")
        nodes, constants, outputs = renamed_branch(graph, call.name)
        scope.update({name: _known_weight(array) for name, array in constants.items()})
        for node in nodes:
            self.import_node(node, scope)
        return {name: scope[inner] for name, inner in zip(call.proto.output, outputs, strict=True) if name}

    def _expanded(self, call: NodeCall, expansion: Expansion, scope: Scope) -> Scope:
        """A node as the nodes of its function; NoRule if one of them has none."""
        mark, outer, outermost = len(self.builder.emitted), self._opsets, not self._inside_function
        inner: Scope = dict.fromkeys(expansion.inputs)
        inner.update(dict(zip(expansion.inputs, call.inputs, strict=False)))
        self._opsets, self._inside_function = {**outer, **expansion.opsets}, True
        try:
            for node in expansion.nodes:
                self.builder.node_name = call.name
                inner.update(self.native(_called(node, call.name, inner), inner))
            names = zip(call.proto.output, expansion.outputs, strict=False)
            return {name: inner[formal] for name, formal in names if name}
        except NoRule as reason:
            self.builder.undo(mark)
            if not outermost or (call.proto.domain, call.op_type) not in self.model.functions:
                raise NoRule(f"its definition needs {node.op_type}: {reason}") from reason
            # no evaluator knows the model's own functions, so their nodes go to the host one by one
            self._inside_function = False
            nodes, outputs = inlined(expansion, call)
            for node in nodes:
                self.import_node(node, scope)
            return {name: scope[inner] for name, inner in zip(call.proto.output, outputs, strict=False) if name}
        finally:
            self._opsets, self._inside_function = outer, not outermost


def _called(node: onnx.NodeProto, name: str, scope: Scope) -> onnx.NodeProto:
    """A node of a function under its caller's name, without the optional inputs that the caller left out."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    copy.name = name
    for slot, value in enumerate(copy.input):
        if value and scope.get(value) is None:
            copy.input[slot] = ""
    while copy.input and not copy.input[-1]:
        copy.input.pop()
    return copy


def _known_weight(array: Any) -> Tensor:
    """A known tensor; strings have a type of their own."""
    array = np.asarray(array)
    return Tensor(
        TensorType(tuple(array.shape), "string" if array.dtype.kind in "OSU" else array.dtype.name), array=array
    )


def _named(node: onnx.NodeProto, results: Any) -> Scope:
    """The results of a rule under the names of the node's outputs."""
    values = [results] if isinstance(results, Tensor) else list(results)
    if len(values) < len([o for o in node.output if o]):
        raise NoRule(f"has {len(node.output)} outputs, of which {len(values)} have a rule")
    return {name: value for name, value in zip(node.output, values, strict=False) if name}


def _strings(items: Sequence[str]) -> ir.Attribute:
    return ir.ArrayAttr.get([ir.StringAttr.get(item) for item in items])
