"""What the back ends share: elementary functions as LLVM IR, the compile cache, crash-proof workers.

Knows nothing of a particular target: `lowering/nvvm` and `lowering/host` build on it.
"""
