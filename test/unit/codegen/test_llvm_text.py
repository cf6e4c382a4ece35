"""What LLVM 24 prints, spelt for LLVM 22."""

import llvmlite.binding as llvm
import pytest

from mlirfuse.errors import UnsupportedOp
from mlirfuse.lowering.codegen.llvm_text import spell_for_llvm_22, translate
from mlirfuse.mlir import ir

CONSTANTS = {
    "float": {
        "1.000000e-01": "0x3FB99999A0000000",
        "f0x4B800000": "0x4170000000000000",
        "+inf": "0x7FF0000000000000",
        "-inf": "0xFFF0000000000000",
        "+qnan": "0x7FF8000000000000",
        "+snan(0x12345)": "0x7FF02468A0000000",
        "-0.000000e+00": "0x8000000000000000",
    },
    "half": {"9.997550e-02": "0xH2E66", "-inf": "0xHFC00", "+qnan": "0xH7E00", "f0x3C00": "0xH3C00"},
    "bfloat": {"1.000980e-01": "0xR3DCD", "+inf": "0xR7F80", "3.140630e+00": "0xR4049"},
    "double": {"1.000000e-01": "0x3FB999999999999A", "-qnan": "0xFFF8000000000000"},
}


@pytest.mark.parametrize(("kind", "text", "bits"), [(k, t, b) for k, d in CONSTANTS.items() for t, b in d.items()])
def test_constants_keep_their_value(kind, text, bits):
    function = f"define {kind} @f() {{\n  ret {kind} CONSTANT\n}}\n"
    respelt = spell_for_llvm_22(function.replace("CONSTANT", text))
    assert respelt == function.replace("CONSTANT", bits)
    llvm.parse_assembly(respelt)


def test_only_constants_change():
    text = (
        'source_filename = "v1.5"\n%3 = fmul <4 x float> %2, splat (float f0x3F3504F3) ; llvm.x 2.5\n!0 = !{!"20.1.0"}'
    )
    respelt = spell_for_llvm_22(text.replace(" ; llvm.x 2.5", ""))
    assert respelt == (
        'source_filename = "v1.5"\n%3 = fmul <4 x float> %2, splat (float 0x3FE6A09E60000000)\n!0 = !{!"20.1.0"}'
    )


def test_foreign_ops_are_refused_before_they_crash_the_translation():
    with ir.Context(), ir.Location.unknown():
        module = ir.Module.parse("func.func @f() { return }")
        with pytest.raises(UnsupportedOp, match=r"func\.func, func\.return"):
            translate(module)
