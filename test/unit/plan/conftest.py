"""Keep the bindings from looking for a module that does not exist.

For every op that Python touches, they try to import `torch_mlir.dialects.<dialect>`, and pytest's import hook makes a
failing import slow. An empty module is found at once.
"""

import sys
import types

sys.modules.setdefault("torch_mlir.dialects.fusion", types.ModuleType("torch_mlir.dialects.fusion"))
