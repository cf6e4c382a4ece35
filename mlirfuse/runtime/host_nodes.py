"""Nodes that run on the host, and the values that they read and write, wherever kernels have theirs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import HostCall, Ref, TensorSpec
from mlirfuse.artifact.dtypes import numpy_dtype
from mlirfuse.errors import MlirfuseError
from mlirfuse.runtime.fallback import FallbackNode

__all__ = ["HostNodes", "HostValues"]

Array = np.ndarray[Any, Any]


class HostValues(ABC):
    """Values between host nodes (`host`), and outputs whose shape depends on the data (`made`), both by index.

    All others are in the memory of kernels, which `read` and `write` reach.
    """

    def __init__(self, specs: Sequence[TensorSpec], made: Any = None) -> None:
        self.specs = specs  # of the outputs
        self.host: dict[int, Any] = {}
        self.made = {} if made is None else made

    @abstractmethod
    def read(self, ref: Ref) -> Array:
        """The referenced elements in one dimension; earlier work on them is done."""

    @abstractmethod
    def write(self, ref: Ref, array: Array) -> None:
        """Put elements, dense in C order, where the reference says."""

    def load(self, ref: Ref | None) -> Any:
        """What a host node reads: an array of its shape, or whatever a host node before it made."""
        if ref is None:
            return None
        if ref.space == "host":
            return self.host.get(ref.index)
        if self._is_dynamic(ref):
            return self.made[ref.index]
        shape = [-1] if ref.shape is None or None in ref.shape else list(ref.shape)
        return self.read(ref).reshape(shape)  # type: ignore[arg-type]

    def store(self, ref: Ref, value: Any, title: str) -> None:
        """Put what a host node made where the reference says."""
        if ref.space == "host":
            self.host[ref.index] = value
            return
        if self._is_dynamic(ref):
            self.made[ref.index] = _of_type(self.specs[ref.index], value, title)
            return
        array, dtype = np.asarray(value, order="C"), numpy_dtype(ref.dtype)
        if array.nbytes != ref.bytes or array.dtype != dtype:
            raise MlirfuseError(
                f"The host node {title} made {array.dtype}{list(array.shape)}, and the program has room for "
                f"{ref.dtype}{list(ref.shape or [ref.bytes // dtype.itemsize])}; compile the model again."
            )
        self.write(ref, array)

    def _is_dynamic(self, ref: Ref) -> bool:
        return ref.space == "output" and None in self.specs[ref.index].shape


def _of_type(spec: TensorSpec, value: Any, title: str) -> Array:
    if not isinstance(value, np.ndarray) or value.dtype != numpy_dtype(spec.dtype):
        found = getattr(value, "dtype", type(value).__name__)
        raise MlirfuseError(f"The host node {title} made {found} for output '{spec.name}' of {spec.dtype}.")
    return np.asarray(value, order="C")


class HostNodes:
    """The program's host nodes, each prepared when it first runs."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._nodes: dict[int, FallbackNode] = {}

    def run(self, step: HostCall, values: HostValues) -> None:
        """Run one host node."""
        node = self._nodes.get(id(step))
        if node is None:
            node = self._nodes[id(step)] = FallbackNode(step.node, step.opset, self.threads)
        made = node.run([values.load(ref) for ref in step.inputs])
        wanted = [name for name in node.node.output if name] if len(step.outputs) < len(made) else node.node.output
        results = dict(zip(node.node.output, made, strict=True))
        for ref, name in zip(step.outputs, wanted, strict=True):
            if ref is not None:
                values.store(ref, results[name], f"'{node.node.name or name}' ({node.node.op_type})")
