"""Accuracy and special values of the elementary functions, executed on this CPU.

The GPU's approximate instructions are replaced by exact ones, so the device's figures are those of
the formulas; the hardware adds its own 1 or 2 ulp.
"""

import ctypes
import math
import platform

import llvmlite.binding as llvm
import numpy as np
import pytest

from mlirfuse.lowering.codegen import elementary
from mlirfuse.lowering.host.host_math import HostMachine
from mlirfuse.lowering.nvvm.device_math import DeviceMachine

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="the loops are for eight-lane vectors")

_erf = np.vectorize(math.erf)
INF, NAN = np.inf, np.nan
# name: (reference, low, high, allowed ulp)
ONE_ARGUMENT = {
    "acos": (np.arccos, -1, 1, 3),
    "acosh": (np.arccosh, 1, 1000, 4),
    "asin": (np.arcsin, -1, 1, 3),
    "asinh": (np.arcsinh, -1000, 1000, 4),
    "atan": (np.arctan, -30, 30, 3),
    "atanh": (np.arctanh, -0.999, 0.999, 5),
    "cos": (np.cos, -200, 200, 2.5),
    "cosh": (np.cosh, -88, 88, 2.5),
    "erf": (_erf, -5, 5, 3),
    "exp": (np.exp, -86, 88.7, 2),
    "exp2": (np.exp2, -124, 127.9, 2),
    "expm1": (np.expm1, -17, 88, 2),
    "log": (np.log, 1e-6, 50, 2),
    "log10": (np.log10, 1e-6, 50, 3),
    "log1p": (np.log1p, -0.99, 30, 3),
    "log2": (np.log2, 1e-6, 50, 3),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1e-6, 1e6, 2),
    "sin": (np.sin, -200, 200, 2.5),
    "sinh": (np.sinh, -88, 88, 2.5),
    "sqrt": (np.sqrt, 0, 1e6, 1),
    "tan": (np.tan, -1.5, 1.5, 4),
    "tanh": (np.tanh, -10, 10, 3),
}
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 100.0, -100.0, 1e30, -1e30, INF, -INF, NAN, 1e-40], np.float32)

_HARDWARE = {
    "llvm.nvvm.ex2.approx.ftz.f": "  %r = call float @llvm.exp2.f32(float %x)",
    "llvm.nvvm.rcp.approx.ftz.f": "  %r = fdiv float 1.0, %x",
    "llvm.nvvm.sqrt.approx.f": "  %r = call float @llvm.sqrt.f32(float %x)",
    "llvm.nvvm.rsqrt.approx.f": "  %s = call float @llvm.sqrt.f32(float %x)\n  %r = fdiv float 1.0, %s",
}


def _imitate_hardware(ir: str) -> str:
    used = [name for name in _HARDWARE if f"@{name}(" in ir]
    for name in used:
        ir = ir.replace(f"declare float @{name}(float)\n", "").replace(f"@{name}(", f"@exact.{name}(")
        ir += f"define internal float @exact.{name}(float %x) {{\n{_HARDWARE[name]}\n  ret float %r\n}}\n"
    return (
        ir
        + "declare float @llvm.exp2.f32(float)\n"
        + ("" if "declare float @llvm.sqrt.f32" in ir else "declare float @llvm.sqrt.f32(float)\n")
    )


def _loop(name: str, parameters: int, lanes: int) -> str:
    """loop_<name>(result, arguments..., count): count is a multiple of lanes."""
    kind = "float" if lanes == 1 else f"<{lanes} x float>"
    pointers = [f"ptr %p{k}" for k in range(parameters)]
    loads = "\n".join(
        f"  %a{k} = getelementptr float, ptr %p{k}, i64 %i\n  %x{k} = load {kind}, ptr %a{k}, align 4"
        for k in range(parameters)
    )
    arguments = ", ".join(f"{kind} %x{k}" for k in range(parameters))
    return f"""
define void @"loop_{name}"(ptr %out, {", ".join(pointers)}, i64 %n) {{
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
{loads}
  %r = call {kind} @{elementary.symbol(name, lanes)}({arguments})
  %o = getelementptr float, ptr %out, i64 %i
  store {kind} %r, ptr %o, align 4
  %next = add i64 %i, {lanes}
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}}
"""


class Library:
    """Every elementary function of one machine as a NumPy function."""

    def __init__(self, machine: object, lanes: int) -> None:
        names = list(elementary.FUNCTIONS)
        ir = elementary.definitions([(n, lanes) for n in names], machine)
        if lanes == 1:
            ir = _imitate_hardware(ir)
        ir += "".join(_loop(n, elementary.FUNCTIONS[n].parameters, lanes) for n in names)
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        module = llvm.parse_assembly(ir)
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=1
        )
        options = llvm.create_pipeline_tuning_options(speed_level=1)
        llvm.create_pass_builder(target, options).getModulePassManager().run(
            module, llvm.create_pass_builder(target, options)
        )
        self.engine = llvm.create_mcjit_compiler(module, target)
        self.engine.finalize_object()

    def __call__(self, name: str, *arguments: np.ndarray) -> np.ndarray:
        n = arguments[0].size
        padded = [np.concatenate([a, np.zeros(-n % 8, np.float32)]).astype(np.float32) for a in arguments]
        out = np.empty(padded[0].size, np.float32)
        function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * (1 + len(padded)), ctypes.c_int64)(
            self.engine.get_function_address(f"loop_{name}")
        )
        function(out.ctypes.data, *(a.ctypes.data for a in padded), out.size)
        return out[:n]


@pytest.fixture(scope="module", params=["device", "host"])
def library(request) -> Library:
    return Library(DeviceMachine(), 1) if request.param == "device" else Library(HostMachine(), 8)


def ulps(value: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(value - exact) / np.spacing(np.abs(exact).astype(np.float32))))


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_accuracy(library, name):
    reference, low, high, allowed = ONE_ARGUMENT[name]
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(low, high, 40000), rng.uniform(max(low, -2), min(high, 2), 40000)])
    x = x.astype(np.float32)
    assert ulps(library(name, x), reference(x.astype(np.float64))) <= allowed


@pytest.mark.parametrize("name", ONE_ARGUMENT)
def test_special_values(library, name):
    """Infinities, NaN and zeros are where NumPy has them; -1e30, 1e30 need not be accurate for sin and cos."""
    with np.errstate(all="ignore"):
        exact = ONE_ARGUMENT[name][0](SPECIAL.astype(np.float64)).astype(np.float32)
    got = library(name, SPECIAL)
    if name in ("sin", "cos", "tan"):
        keep = np.abs(SPECIAL) != np.float32(1e30)
        got, exact = got[keep], exact[keep]
    np.testing.assert_allclose(got, exact, rtol=1e-6, atol=2e-38, equal_nan=True)


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_large_angles(library, name):
    x = np.random.default_rng(1).uniform(-1e9, 1e9, 8000).astype(np.float32)
    np.testing.assert_allclose(library(name, x), getattr(np, name)(x.astype(np.float64)), atol=2e-7)


def test_pow(library):
    rng = np.random.default_rng(2)
    x = rng.lognormal(0, 3, 40000).astype(np.float32)
    y = rng.uniform(-8, 8, 40000).astype(np.float32)
    exact = x.astype(np.float64) ** y
    keep = (exact > 1e-37) & (exact < 3e38)
    assert ulps(library("pow", x, y)[keep], exact[keep]) <= 3


def test_pow_of_special_values(library):
    values = np.array([0.0, -0.0, 0.5, -0.5, 1, -1, 2, -2, 3, -3, 2.5, INF, -INF, NAN], np.float32)
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), y)
    np.testing.assert_allclose(library("pow", x, y), exact, rtol=1e-6, equal_nan=True)


def test_atan2_in_every_quadrant(library):
    values = np.array([0.0, -0.0, 0.5, -0.5, 1, -1, 7, -7, 1e-30, 1e30, INF, -INF, NAN], np.float32)
    y, x = (a.ravel() for a in np.meshgrid(values, values))
    exact = np.arctan2(y.astype(np.float64), x)
    np.testing.assert_allclose(library("atan2", y, x), exact, rtol=1e-6, atol=1e-37, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "reference"),
    [("ceil", np.ceil), ("floor", np.floor), ("trunc", np.trunc), ("rint", np.rint), ("fabs", np.abs)],
)
def test_rounding_is_exact(library, name, reference):
    x = np.concatenate([SPECIAL, np.arange(-4, 4, 0.25, np.float32)])
    np.testing.assert_array_equal(library(name, x), reference(x))


def test_round_takes_halves_away_from_zero(library):
    np.testing.assert_array_equal(library("round", np.array([0.5, -0.5, 1.5, 2.5, 2.4], np.float32)), [1, -1, 2, 3, 2])
