"""The one seam to the MLIR bindings: everything else imports them from here.

The bindings are fast and unforgiving. What this module adds:

- `context()`: one context with the fusion dialect loaded, once, under a lock (loading from two
  threads at a time crashes natively).
- `safe_verifier`: verifiers run before IRDL's own constraints, on IR that may be malformed; an
  exception that leaves one travels raw through C++. The decorator turns it into a diagnostic.
"""

import contextlib
import functools
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

from torch_mlir import ir, passmanager, rewrite
from torch_mlir.dialects import affine, arith, ext, func, gpu, llvm, math, memref, nvvm, scf, vector

__all__ = [
    "affine",
    "arith",
    "context",
    "ext",
    "func",
    "gpu",
    "ir",
    "llvm",
    "load_dialect",
    "math",
    "memref",
    "nvvm",
    "passmanager",
    "rewrite",
    "safe_verifier",
    "scf",
    "vector",
]

_load_lock = threading.Lock()
# IRDL field annotations look an attribute class up by this name; the wheel leaves it out.
ir.DenseI64ArrayAttr.attr_name = "builtin.dense_array"


def load_dialect(dialect: Any, ctx: ir.Context) -> None:
    """Load a Python-defined dialect into `ctx` unless it is there already."""
    # The bindings look for a Python module of each op's dialect, and search again for every op where there is none.
    module = f"torch_mlir.dialects.{dialect.DIALECT_NAMESPACE}"
    sys.modules.setdefault(module, types.ModuleType(module, dialect.__doc__))
    with _load_lock, ctx:
        if not ctx.is_dialect_loaded(dialect.DIALECT_NAMESPACE):
            dialect.load()


@contextlib.contextmanager
def context() -> Iterator[ir.Context]:
    """A fresh single-threaded context with the fusion dialect and an unknown location, entered."""
    from mlirfuse.dialect import Fusion  # the dialect imports this module

    with ir.Context() as ctx, ir.Location.unknown():
        load_dialect(Fusion, ctx)
        yield ctx


def safe_verifier(verify: Callable[[Any], str | None]) -> Callable[[Any], bool]:
    """Turn `verify(op) -> complaint or None` into a verifier that cannot raise.

    The complaint becomes a diagnostic on the op's location, prefixed with the op's name.
    """

    @functools.wraps(verify)
    def verify_invariants(self: Any) -> bool:
        try:
            complaint = verify(self)
        except Exception as error:  # malformed IR: IRDL's own message may never come
            complaint = f"is malformed: {type(error).__name__}: {error}"
        if complaint is None:
            return True
        self.operation.location.emit_error(f"'{self.operation.name}' op {complaint}")
        return False

    return verify_invariants
