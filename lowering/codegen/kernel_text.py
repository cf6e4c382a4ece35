"""The text of kernels, each alone and free of everything that does not change its code."""

from mlirfuse.mlir import ir

__all__ = ["plain_text", "split_kernels"]


def plain_text(op: ir.Operation) -> str:
    """`op` as text that stands alone: no aliases, no locations, no attributes of the fusion dialect on it."""
    copy = op.clone()
    for name in list(copy.attributes):
        if name.startswith("fusion."):
            del copy.attributes[name]
    text = copy.get_asm(use_local_scope=True, enable_debug_info=False, assume_verified=True)
    copy.erase()
    return text


def split_kernels(module: ir.Module) -> dict[str, str]:
    """Each `gpu.func` of a module as the text of a module of its own, without locations.

    Symbols other than functions (memref.global, ...) that share the gpu.module go with every kernel.
    """
    texts: dict[str, str] = {}
    for op in module.body.operations:
        if op.operation.name != "gpu.module":
            continue
        body = list(op.regions[0].blocks[0].operations)
        shared = [o for o in body if o.operation.name != "gpu.func"]
        for kernel in body:
            if kernel.operation.name == "gpu.func":
                name = ir.StringAttr(kernel.operation.attributes["sym_name"]).value
                inner = "\n".join(plain_text(o.operation) for o in [*shared, kernel])
                texts[name] = (
                    'module attributes {gpu.container_module, fusion.stage = "kernels"} {\n'
                    f"gpu.module @kernels {{\n{inner}\n}}\n}}\n"
                )
    return texts
