"""LLVM IR text -> PTX through llvmlite, with our elementary functions linked in."""

import functools

import llvmlite.binding as llvm

from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.codegen.elementary import link_elementary
from mlirfuse.lowering.nvvm.device_math import DeviceMachine, double_functions

__all__ = ["PTX_VERSION", "llvm_ir_to_ptx"]

_TRIPLE = "nvptx64-nvidia-cuda"
# the oldest PTX that knows the chip and everything that kernels may use on it (PTX ISA, release
# notes); older drivers accept older PTX
PTX_VERSION = {
    "sm_75": "80",
    "sm_80": "80",
    "sm_86": "80",
    "sm_87": "80",
    "sm_89": "81",
    "sm_90": "80",
    "sm_90a": "80",
    "sm_100": "86",
    "sm_100a": "86",
    "sm_120": "87",
    "sm_120a": "87",
}


@functools.cache
def _initialise() -> None:
    """Once per process, before any target exists: shared-memory pointers of 32 bits."""
    llvm.set_option("mlirfuse", "--nvptx-short-ptr")
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@functools.cache
def _target_machine(chip: str) -> llvm.TargetMachine:
    if chip not in PTX_VERSION:
        raise UnsupportedTarget(f"no PTX can be made for the chip {chip!r}; known are {', '.join(PTX_VERSION)}.")
    _initialise()
    target = llvm.Target.from_triple(_TRIPLE)
    return target.create_target_machine(cpu=chip, features=f"+ptx{PTX_VERSION[chip]}", opt=3)


def llvm_ir_to_ptx(llvm_ir: str, chip: str, level: int = 3) -> str:
    """PTX of one module; `level` is LLVM's speed level for the module passes."""
    machine = _target_machine(chip)
    header = f'target datalayout = "{machine.target_data}"\ntarget triple = "{_TRIPLE}"\n'
    module = llvm.parse_assembly(header + llvm_ir)
    link_elementary(module, header, DeviceMachine())
    _link_double_functions(module, header)
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.loop_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    missing = sorted(f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm."))
    if missing:
        raise UnsupportedTarget(f"kernels for {chip} call {', '.join(missing)}, which mlirfuse has no GPU code for.")
    return machine.emit_assembly(module)


def _link_double_functions(module: llvm.ModuleRef, header: str) -> None:
    texts = double_functions()
    for name in [f.name for f in module.functions if f.is_declaration and f.name in texts]:
        module.link_in(llvm.parse_assembly(header + texts[name]))
        module.get_function(name).linkage = llvm.Linkage.internal
