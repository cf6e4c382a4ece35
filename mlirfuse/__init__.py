"""mlirfuse: compile an ONNX network into few, fast, fused kernels and run it.

The public names are imported on first use, so that `import mlirfuse` stays cheap and
loading a compiled artifact never needs the compiler.
"""

from pathlib import Path as _Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a source checkout `dialect/`, `lowering/` and `zoo/` are siblings of this folder; an installed
# package already contains them (pyproject.toml, wheel.packages).
_checkout = _Path(__file__).resolve().parent.parent
if (_checkout / "dialect" / "__init__.py").is_file():
    __path__.append(str(_checkout))

if TYPE_CHECKING:
    from mlirfuse.compiler import compile
    from mlirfuse.errors import ArtifactError, InvalidModel, MlirfuseError, UnsupportedOp, UnsupportedTarget
    from mlirfuse.options import CompileOptions
    from mlirfuse.runtime import Executable, TensorSpec, load

_HOME = {
    "compile": "mlirfuse.compiler",
    "CompileOptions": "mlirfuse.options",
    "Executable": "mlirfuse.runtime",
    "TensorSpec": "mlirfuse.runtime",
    "load": "mlirfuse.runtime",
    "MlirfuseError": "mlirfuse.errors",
    "InvalidModel": "mlirfuse.errors",
    "UnsupportedOp": "mlirfuse.errors",
    "UnsupportedTarget": "mlirfuse.errors",
    "ArtifactError": "mlirfuse.errors",
}
__all__ = [
    "ArtifactError",
    "CompileOptions",
    "Executable",
    "InvalidModel",
    "MlirfuseError",
    "TensorSpec",
    "UnsupportedOp",
    "UnsupportedTarget",
    "compile",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mlirfuse' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)
