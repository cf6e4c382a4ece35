"""From the CPU form of the `kernels` stage to LLVM IR: one `func.func` per kernel, bare pointers.

A kernel's LLVM signature is `void (ptr buffer..., i64 tile)`.
"""

from mlirfuse.lowering.codegen.expand_math import expand_math
from mlirfuse.lowering.codegen.kernel_text import plain_text
from mlirfuse.lowering.codegen.llvm_text import translate
from mlirfuse.mlir import ir, passmanager

__all__ = ["HOST_PIPELINE", "lower_host_kernel", "split_host_kernels", "written_arguments"]

HOST_PIPELINE = (
    "builtin.module("
    "func.func(affine-expand-index-ops,lower-affine),"
    "convert-vector-to-scf{full-unroll=true},expand-strided-metadata,lower-affine,canonicalize,cse,"
    "convert-scf-to-cf,convert-math-to-llvm,convert-math-to-libm,convert-vector-to-llvm,convert-arith-to-llvm,"
    "finalize-memref-to-llvm,convert-func-to-llvm{use-bare-ptr-memref-call-conv=1},convert-cf-to-llvm,"
    "convert-index-to-llvm,convert-ub-to-llvm,canonicalize,cse,reconcile-unrealized-casts)"
)
_ENTRY = "main"
_LOADS = ("affine.load", "affine.vector_load", "memref.load", "vector.load", "affine.prefetch", "memref.prefetch",
          "vector.gather", "vector.maskedload", "vector.transfer_read", "memref.dim")  # fmt: skip


def _name(op: ir.Operation) -> str:
    return ir.StringAttr(op.attributes["sym_name"]).value


def _functions(module: ir.Module) -> list[ir.Operation]:
    return [o.operation for o in module.body.operations if o.operation.name == "func.func"]


def split_host_kernels(module: ir.Module) -> dict[str, str]:
    """Each kernel (every function with a body but @main) as the text of a module of its own.

    Other symbols (memref.global, ...) go with every kernel.
    """
    others = [o.operation for o in module.body.operations if o.operation.name != "func.func"]
    texts: dict[str, str] = {}
    for function in _functions(module):
        if _name(function) != _ENTRY and len(function.regions[0].blocks):
            inner = "\n".join(plain_text(o) for o in [*others, function])
            texts[_name(function)] = f'module attributes {{fusion.stage = "kernels"}} {{\n{inner}\n}}\n'
    return texts


def _kernel(module: ir.Module) -> ir.Operation:
    (kernel,) = (f for f in _functions(module) if len(f.regions[0].blocks))
    return kernel


def written_arguments(text: str) -> tuple[bool, ...]:
    """For each memref argument of a kernel, in order, whether the kernel may write to it."""
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        module = ir.Module.parse(text)
        arguments = _kernel(module).regions[0].blocks[0].arguments
        return tuple(_written(a) for a in arguments if isinstance(a.type, ir.MemRefType))


def _written(argument: ir.Value) -> bool:
    """False only if every use is a plain load."""
    return any(use.owner.name not in _LOADS for use in argument.uses)


def lower_host_kernel(text: str, symbol: str) -> str:
    """LLVM IR of a module of one kernel, exported as `symbol`.

    The pointers are noalias and dereferenceable for their whole buffers, so that LLVM may move loads.
    """
    with ir.Context() as context, ir.Location.unknown():
        context.allow_unregistered_dialects = True
        module = ir.Module.parse(text)
        _prepare(_kernel(module), symbol)
        expand_math(module.operation, vectors=True)
        passmanager.PassManager.parse(HOST_PIPELINE).run(module.operation)
        return translate(module)


def _prepare(kernel: ir.Operation, symbol: str) -> None:
    """Publish the function under its symbol and state what is known of its pointers."""
    kernel.attributes["sym_name"] = ir.StringAttr.get(symbol)
    kernel.attributes["sym_visibility"] = ir.StringAttr.get("public")
    kernel.attributes["passthrough"] = ir.Attribute.parse('["nounwind", ["prefer-vector-width", "256"]]')
    arguments = kernel.regions[0].blocks[0].arguments
    given = ir.ArrayAttr(kernel.attributes["arg_attrs"]) if "arg_attrs" in kernel.attributes else [{}] * len(arguments)
    known = []
    for argument, attributes in zip(arguments, given, strict=True):
        facts = {a.name: a.attr for a in attributes} if attributes else {}
        if isinstance(argument.type, ir.MemRefType):
            facts = {"llvm.noalias": ir.UnitAttr.get(), "llvm.dereferenceable": _bytes(argument.type)} | facts
        known.append(ir.DictAttr.get(facts))
    kernel.attributes["arg_attrs"] = ir.ArrayAttr.get(known)


def _bytes(kind: ir.MemRefType) -> ir.IntegerAttr:
    element = kind.element_type
    bits = element.width if isinstance(element, ir.IntegerType | ir.FloatType) else 8
    size = max(bits // 8, 1)
    for extent in kind.shape:
        size *= extent
    return ir.IntegerAttr.get(ir.IntegerType.get_signless(64), size)
