"""The text of one kernel, free of everything that does not change its code."""

from mlirfuse.mlir import ir

__all__ = ["plain_text"]


def plain_text(op: ir.Operation) -> str:
    """`op` as text that stands alone: no aliases, no locations, no attributes of the fusion dialect on it."""
    copy = op.clone()
    for name in list(copy.attributes):
        if name.startswith("fusion."):
            del copy.attributes[name]
    text = copy.get_asm(use_local_scope=True, enable_debug_info=False, assume_verified=True)
    copy.erase()
    return text
