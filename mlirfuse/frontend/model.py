"""A model that is ready to import: read, checked, its nodes named and in order, its input shapes bound."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import helper, numpy_helper

from mlirfuse.dialect import TensorType
from mlirfuse.errors import InvalidModel
from mlirfuse.frontend.input_shapes import Binding, bind_inputs
from mlirfuse.frontend.node_order import live_nodes, name_nodes, sort_nodes
from mlirfuse.frontend.source import INLINE_BYTES, Source, read_source
from mlirfuse.frontend.validity import check_skeleton

__all__ = ["ImportedModel", "InputSpec", "load_model"]


@dataclass(frozen=True)
class InputSpec:
    """A graph input that the caller gives."""

    name: str
    type: TensorType


@dataclass(frozen=True)
class ImportedModel:
    """What the importer works on.

    `nodes` are the nodes that the outputs need, in topological order, each with a name; `weights` the initializers.
    `declared` is the checked graph without weights, its inputs bound, for type inference of fall-back nodes.
    `rebatch` maps the declared leading extent to the one asked for, where `shapes` overrode a static one.
    """

    name: str
    inputs: tuple[InputSpec, ...]
    outputs: tuple[str, ...]
    nodes: tuple[onnx.NodeProto, ...]
    weights: Mapping[str, Any]
    opsets: Mapping[str, int]
    functions: Mapping[tuple[str, str], onnx.FunctionProto]
    declared: onnx.ModelProto
    rebatch: tuple[int, int] | None = None


def load_model(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto | ImportedModel,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> ImportedModel:
    """Read and check a model; `shapes` fixes symbolic input dimensions or overrides static ones.

    Raises InvalidModel for anything that is damaged, inconsistent, missing, or left symbolic.
    """
    if isinstance(source, ImportedModel):
        return source
    try:
        return _loaded(read_source(source), shapes or {})
    except UnicodeDecodeError as error:  # protobuf decodes names when they are looked at
        raise InvalidModel(
            f"The model holds a name that is no UTF-8 text ({error.reason}): the file is damaged; "
            "fetch or export it again."
        ) from error


def _loaded(read: Source, shapes: Mapping[str, Sequence[int]]) -> ImportedModel:
    nodes = sort_nodes(read.name, read.skeleton.graph, read.weights)
    name_nodes(nodes)
    skeleton = _with_nodes(read, nodes)
    check_skeleton(read.name, skeleton)
    binding = bind_inputs(read.name, skeleton.graph, read.weights, shapes)
    declared = _bound(skeleton, binding)
    functions = {(f.domain, f.name): f for f in skeleton.functions}
    return ImportedModel(
        read.name,
        tuple(InputSpec(name, tensor) for name, tensor in binding.types.items()),
        tuple(output.name for output in skeleton.graph.output),
        tuple(live_nodes(nodes, [output.name for output in skeleton.graph.output])),
        read.weights,
        {("" if o.domain == "ai.onnx" else o.domain): o.version for o in skeleton.opset_import},
        functions,
        declared,
        binding.rebatch,
    )


def _with_nodes(read: Source, nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """The skeleton with sorted nodes, small initializers, and large ones declared as inputs."""
    model = read.skeleton
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    inputs = {value.name for value in model.graph.input}
    for name, array in read.weights.items():
        if array.nbytes <= INLINE_BYTES or array.dtype.kind == "O":
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        elif name not in inputs:
            element = helper.np_dtype_to_tensor_dtype(array.dtype)
            model.graph.input.append(helper.make_tensor_value_info(name, element, array.shape))
    return model


def _bound(skeleton: onnx.ModelProto, binding: Binding) -> onnx.ModelProto:
    """The skeleton with the bound input shapes; stale types of inner values go if a static one was overridden."""
    for value in skeleton.graph.input:
        if value.name in binding.types:
            shape = value.type.tensor_type.shape
            shape.Clear()
            for size in binding.types[value.name].dims:
                shape.dim.add().dim_value = size
    if binding.overridden:
        del skeleton.graph.value_info[:]
        for output in skeleton.graph.output:
            for dim in output.type.tensor_type.shape.dim:
                dim.Clear()
    return skeleton
