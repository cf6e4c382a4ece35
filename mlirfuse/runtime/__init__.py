"""Load and run compiled networks. Needs numpy, and what the target itself needs; neither MLIR nor the compiler."""

from mlirfuse.artifact import TensorSpec
from mlirfuse.runtime.executable import BoundCall, Executable, load
from mlirfuse.runtime.executor import Executor
from mlirfuse.runtime.report import CompileReport
from mlirfuse.runtime.timing import Spread, Timing

__all__ = ["BoundCall", "CompileReport", "Executable", "Executor", "Spread", "TensorSpec", "Timing", "load"]
