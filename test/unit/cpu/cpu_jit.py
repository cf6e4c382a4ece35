"""A module of kernels as native code in this process."""

import ctypes

import llvmlite.binding as llvm

from mlirfuse.lowering.codegen.expand_math import expand_math
from mlirfuse.lowering.codegen.llvm_text import translate
from mlirfuse.lowering.host.object_code import HostCpu, llvm_ir_to_object
from mlirfuse.lowering.host.pipeline import HOST_PIPELINE
from mlirfuse.mlir import passmanager


class Library:
    """Functions of one object; they keep it loaded."""

    def __init__(self, code, names):
        machine = llvm.Target.from_default_triple().create_target_machine()
        self._jit = llvm.create_lljit_compiler(machine)
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
        for name in names:
            builder.export_symbol(name)
        self._tracker = builder.link(self._jit, "kernels")

    def function(self, name, pointers):
        entry = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, ctypes.c_int64)(self._tracker[name])
        entry.library = self
        return entry


def compile_module(module, names):
    """Compile every kernel of `module` at once."""
    expand_math(module.operation, vectors=True)
    passmanager.PassManager.parse(HOST_PIPELINE).run(module.operation)
    return Library(llvm_ir_to_object(translate(module), HostCpu.of_this_machine()), names)
