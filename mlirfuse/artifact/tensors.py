"""The weights section: a safetensors file of its own, every tensor at a multiple of 64 bytes.

safetensors allows no holes, so the gaps are named tensors of bytes ("__padding__.0"). Cut out of the
artifact, the section is a file that any safetensors reader opens.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from mlirfuse.artifact.container import ALIGNMENT
from mlirfuse.artifact.dtypes import SAFETENSORS_CODES, element_bytes, known_dtype, numpy_dtype
from mlirfuse.artifact.schema import count, field, malformed, mapping, shape
from mlirfuse.errors import ArtifactError

__all__ = ["pack", "unpack"]

PADDING = "__padding__"


def pack(tensors: Mapping[str, np.ndarray[Any, Any]]) -> tuple[dict[str, dict[str, Any]], list[bytes | memoryview]]:
    """The manifest's entry for each tensor, and the parts of the section."""
    table: dict[str, dict[str, Any]] = {}
    header: dict[str, dict[str, Any]] = {}
    parts: list[bytes | memoryview] = []
    position = 0
    for name in sorted(tensors):
        array = np.asarray(tensors[name], order="C")
        dtype = _name(array.dtype, name)
        header[name] = {
            "dtype": SAFETENSORS_CODES[dtype],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        table[name] = {"dtype": dtype, "shape": list(array.shape), "offset": position, "bytes": array.nbytes}
        parts.append(array.reshape(-1).view(np.uint8).data if array.size else b"")
        position += array.nbytes
        gap = -position % ALIGNMENT
        if gap:
            pad = f"{PADDING}.{len(header)}"
            header[pad] = {"dtype": "U8", "shape": [gap], "data_offsets": [position, position + gap]}
            parts.append(bytes(gap))
            position += gap
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    for entry in table.values():
        entry["offset"] += 8 + len(text)
    return table, [len(text).to_bytes(8, "little") + text, *parts]


def unpack(table: Mapping[str, Any], section: memoryview) -> dict[str, np.ndarray[Any, Any]]:
    """Read-only views of the section, one for each entry of the manifest's table."""
    return {key: _view(mapping(entry, f"weights[{key!r}]"), section, key) for key, entry in table.items()}


def _view(entry: Mapping[str, Any], section: memoryview, key: str) -> np.ndarray[Any, Any]:
    where = f"weights[{key!r}]"
    dtype = field(entry, "dtype", known_dtype, where)
    dimensions = field(entry, "shape", shape, where)
    offset, size = field(entry, "offset", count, where), field(entry, "bytes", count, where)
    elements = 1
    for dimension in dimensions:
        elements *= dimension
    if size != elements * element_bytes(dtype) or offset + size > len(section) or offset % element_bytes(dtype):
        raise malformed(where, f"{elements} elements of {dtype} inside {len(section)} bytes", (offset, size))
    data = section[offset : offset + size]
    array = np.frombuffer(data, numpy_dtype(dtype)) if size else np.empty(0, numpy_dtype(dtype))
    array = array.reshape(dimensions)
    array.flags.writeable = False
    return array


def _name(dtype: np.dtype[Any], key: str) -> str:
    if dtype.name not in SAFETENSORS_CODES or not dtype.isnative:
        raise ArtifactError(
            f"The weight '{key}' has element type {dtype}, which an artifact cannot hold; "
            f"it can hold {', '.join(SAFETENSORS_CODES)} in native byte order."
        )
    return dtype.name
