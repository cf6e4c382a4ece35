"""Reading an ONNX model: the graph without its weights, and the weights as arrays that copy nothing.

External data is memory-mapped. Initializers above `INLINE_BYTES` leave the graph, so that checking it and
inferring its types costs the same whatever the weights weigh.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, helper, numpy_helper

from mlirfuse.errors import InvalidModel

__all__ = ["INLINE_BYTES", "Source", "read_source"]

INLINE_BYTES = 1024


@dataclass(frozen=True)
class Source:
    """A model as read: `skeleton` keeps the nodes and the small initializers, `weights` has every initializer."""

    name: str
    skeleton: onnx.ModelProto
    weights: Mapping[str, Any]


def read_source(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> Source:
    """Read a path, serialized bytes or a ModelProto (which is not modified). InvalidModel if it is damaged."""
    if isinstance(source, onnx.ModelProto):
        return _split(source, source.graph.name or "model", None)
    if isinstance(source, bytes | bytearray | memoryview):
        return _split(_parse(bytes(source), "the given bytes"), None, None)
    path = Path(source)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InvalidModel(f"{path} {what}; give the path of an .onnx file.")
    if path.suffix in (".onnx", ".pb", ""):
        model = _parse(path.read_bytes(), str(path))
    else:
        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # the text formats have parsers with errors of their own
            raise InvalidModel(f"{path} is not a readable ONNX file: {_first_line(error)}.") from error
    return _split(model, path.stem, path.parent)


def _parse(data: bytes, where: str) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise InvalidModel(
            f"{where} is not a readable ONNX file ({len(data)} bytes): {_first_line(error)}. "
            "It is truncated, damaged, or another format (a Git LFS pointer is a text of three lines); "
            "fetch or export it again."
        ) from error
    if not model.HasField("graph"):
        raise InvalidModel(
            f"{where} holds no graph ({len(data)} bytes): it is truncated or not an ONNX model; "
            "fetch or export it again."
        )
    return model


def _split(model: onnx.ModelProto, name: str | None, folder: Path | None) -> Source:
    graph = model.graph
    name = name or graph.name or "model"
    skeleton = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            continue
        if hasattr(value, "MergeFrom") and not isinstance(value, str | bytes | int):
            getattr(skeleton, field.name).MergeFrom(value)
        else:
            setattr(skeleton, field.name, value)
    skeleton.graph.name = graph.name or name
    for part in ("node", "input", "output", "value_info"):
        getattr(skeleton.graph, part).MergeFrom(getattr(graph, part))
    weights: dict[str, Any] = {}
    for tensor in graph.initializer:
        if not tensor.name:
            raise InvalidModel(f"{name} has an initializer without a name; export the model again.")
        if tensor.name in weights:
            raise InvalidModel(
                f"{name} defines the initializer '{tensor.name}' twice; names must be unique in a graph."
            )
        weights[tensor.name] = _initializer(tensor, folder, name)
    for sparse in graph.sparse_initializer:
        weights[sparse.values.name] = _dense(sparse, name)
    _resolve_attributes(skeleton, folder, name)
    return Source(name, skeleton, weights)


def _initializer(tensor: onnx.TensorProto, folder: Path | None, model: str) -> Any:
    if external_data_helper.uses_external_data(tensor):
        return _external(tensor, folder, model)
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:
        raise InvalidModel(
            f"{model}: the initializer '{tensor.name}' does not hold the {tuple(tensor.dims)} elements that it "
            f"declares: {_first_line(error)}. The file is truncated or damaged; fetch or export it again."
        ) from error


def _external(tensor: onnx.TensorProto, folder: Path | None, model: str) -> Any:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    where = f"{model}: the tensor '{tensor.name}' lies in the external file '{location}'"
    if folder is None:
        raise InvalidModel(
            f"{where}, but a model given as bytes or ModelProto has no folder to look in; "
            "give the path of the .onnx file, or load the external data first."
        )
    path = folder / location
    if not location or Path(location).is_absolute() or not path.resolve().is_relative_to(folder.resolve()):
        raise InvalidModel(f"{where}, which is not a relative path below the model's folder {folder}; refused.")
    if not path.is_file():
        raise InvalidModel(f"{where}, which does not exist in {folder}; put it beside the .onnx file.")
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    packed = dtype.name in ("int4", "uint4", "float4_e2m1fn", "int2", "uint2")
    count = int(np.prod(tensor.dims, dtype=np.int64))
    try:
        offset = int(entries.get("offset", 0) or 0)
        length = int(entries.get("length", 0) or 0) or count * dtype.itemsize
    except ValueError as error:
        raise InvalidModel(
            f"{where} at offset '{entries.get('offset')}', which is no number; export the model again."
        ) from error
    size = path.stat().st_size
    if offset < 0 or offset + length > size or (not packed and length != count * dtype.itemsize):
        raise InvalidModel(
            f"{where} at bytes {offset} to {offset + length}, but needs {count * dtype.itemsize} bytes of a file of "
            f"{size}; the file is truncated or belongs to another model."
        )
    if packed or count == 0:
        loaded = onnx.TensorProto()
        loaded.CopyFrom(tensor)
        external_data_helper.load_external_data_for_tensor(loaded, str(folder))
        return numpy_helper.to_array(loaded)
    return np.memmap(path, dtype, "r", offset, tuple(tensor.dims))


def _dense(sparse: onnx.SparseTensorProto, model: str) -> Any:
    """The dense array of a sparse tensor (indices linear or one row per element)."""
    values = numpy_helper.to_array(sparse.values)
    indices = numpy_helper.to_array(sparse.indices)
    shape = tuple(sparse.dims)
    dense = np.zeros(shape, values.dtype)
    try:
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
    except IndexError as error:
        raise InvalidModel(
            f"{model}: the sparse initializer '{sparse.values.name}' has an index outside {shape}."
        ) from error
    return dense


def _resolve_attributes(model: onnx.ModelProto, folder: Path | None, name: str) -> None:
    """Load external data of tensors that are attributes (Constant nodes)."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t") and external_data_helper.uses_external_data(attribute.t):
                array = _external(attribute.t, folder, name)
                attribute.t.CopyFrom(numpy_helper.from_array(np.asarray(array), attribute.t.name))


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0].rstrip(".")
