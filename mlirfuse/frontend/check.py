"""Which nodes of a model compile, which run on the host, which are invalid, and why."""

import os
from collections.abc import Mapping, Sequence

import onnx

from mlirfuse.dialect import WeightStore
from mlirfuse.frontend.graph_importer import GraphImporter, NodeStatus
from mlirfuse.frontend.model import ImportedModel, load_model
from mlirfuse.mlir import context

__all__ = ["check_model"]


def check_model(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto | ImportedModel,
    shapes: Mapping[str, Sequence[int]] | None = None,
) -> list[NodeStatus]:
    """The status of every node that the outputs need, in order; goes on after an invalid node.

    Raises InvalidModel only where there is no graph to go through (a damaged file, a symbolic input).
    """
    with context():
        importer = GraphImporter(load_model(model, shapes), WeightStore(), tolerant=True)
        importer.run()
    return importer.statuses
