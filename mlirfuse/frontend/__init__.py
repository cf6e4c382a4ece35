"""ONNX in, fusion dialect out.

`load_model` reads and checks a model, `import_model` makes the module of it, `check_model` says of every node whether
it compiles; `interpret` runs a module by the references of its ops. Rules for operators register with `importer`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlirfuse.frontend.check import check_model
    from mlirfuse.frontend.graph_importer import NodeStatus, import_model
    from mlirfuse.frontend.model import ImportedModel, InputSpec, load_model
    from mlirfuse.frontend.reference import interpret
    from mlirfuse.frontend.registry import InvalidNode, NoRule, importer

_HOME = {
    "ImportedModel": "model",
    "InputSpec": "model",
    "InvalidNode": "registry",
    "NoRule": "registry",
    "NodeStatus": "graph_importer",
    "check_model": "check",
    "import_model": "graph_importer",
    "importer": "registry",
    "interpret": "reference",
    "load_model": "model",
}
__all__ = [
    "ImportedModel",
    "InputSpec",
    "InvalidNode",
    "NoRule",
    "NodeStatus",
    "check_model",
    "import_model",
    "importer",
    "interpret",
    "load_model",
]


def __getattr__(name: str) -> Any:
    """Import on first use, so that running a fall-back node (`host_node`) needs no MLIR."""
    if name not in _HOME:
        raise AttributeError(f"module 'mlirfuse.frontend' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"mlirfuse.frontend.{_HOME[name]}"), name)
