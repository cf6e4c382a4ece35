"""LLVM IR text -> relocatable object code for one CPU through llvmlite."""

import functools
import platform
from dataclasses import dataclass

import llvmlite.binding as llvm

from mlirfuse.errors import UnsupportedTarget
from mlirfuse.lowering.codegen.elementary import link_elementary
from mlirfuse.lowering.host.host_math import HostMachine

__all__ = ["HostCpu", "llvm_ir_to_object"]

# what LLVM's code generation for x86 may use of a CPU when it compiles kernels
# fmt: off
_X86_FEATURES = {
    "sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "sse4a", "avx", "avx2", "fma", "fma4", "f16c", "bmi", "bmi2",
    "lzcnt", "popcnt", "movbe", "adx", "cx16", "xop", "tbm", "avx512f", "avx512bw", "avx512cd", "avx512dq",
    "avx512vl", "avx512ifma", "avx512vbmi", "avx512vbmi2", "avx512vnni", "avx512bitalg", "avx512vpopcntdq",
    "avx512bf16", "avx512fp16", "avx512vp2intersect", "avxvnni", "avxvnniint8", "avxvnniint16", "avxifma",
    "avxneconvert", "gfni", "vaes", "vpclmulqdq",
}
# fmt: on
_V3 = (
    *("sse2", "sse3", "ssse3", "sse4.1", "sse4.2", "popcnt", "cx16"),
    *("avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"),
)
# older levels lack fused multiply-add, which every kernel is built on
_LEVELS = {
    "x86-64-v3": _V3,
    "x86-64-v4": (*_V3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}


@dataclass(frozen=True)
class HostCpu:
    """A CPU by LLVM's names: `features` is what code made for it may use."""

    name: str
    features: tuple[str, ...]

    @classmethod
    def of_this_machine(cls) -> "HostCpu":
        present = llvm.get_host_cpu_features()
        relevant = _X86_FEATURES if platform.machine() == "x86_64" else frozenset(present)
        return cls(llvm.get_host_cpu_name(), tuple(sorted(f for f, has in present.items() if has and f in relevant)))

    @classmethod
    def named(cls, name: str | None) -> "HostCpu":
        """This machine's CPU for None or "native", else an x86-64 micro-architecture level."""
        if name in (None, "native"):
            return cls.of_this_machine()
        if name not in _LEVELS:
            raise UnsupportedTarget(
                f"Host code can be made for this machine's CPU ('native') or for {', '.join(_LEVELS)}; found {name!r}."
            )
        return cls(name, tuple(sorted(_LEVELS[name])))


@functools.cache
def _initialise() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


@functools.cache
def _target_machine(cpu: HostCpu) -> llvm.TargetMachine:
    _initialise()
    known = _X86_FEATURES if platform.machine() == "x86_64" else frozenset(cpu.features)
    switches = [("+" if f in cpu.features else "-") + f for f in sorted(known)]
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu.name, features=",".join(switches), opt=3, reloc="pic", codemodel="default"
    )


def llvm_ir_to_object(llvm_ir: str, cpu: HostCpu, level: int = 3) -> bytes:
    """Object code of one module; elementary functions that it declares are linked in."""
    machine = _target_machine(cpu)
    header = f'target datalayout = "{machine.target_data}"\ntarget triple = "{machine.triple}"\n'
    module = llvm.parse_assembly(header + llvm_ir)
    link_elementary(module, header, HostMachine())
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=level)
    options.slp_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    return machine.emit_object(module)
