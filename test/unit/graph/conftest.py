"""Keep the bindings from looking for a module that does not exist (see test/unit/plan/conftest.py)."""

import sys
import types

sys.modules.setdefault("torch_mlir.dialects.fusion", types.ModuleType("torch_mlir.dialects.fusion"))
