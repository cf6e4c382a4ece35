"""Replace floating-point `math` ops by calls of our elementary functions.

    math.exp %v : vector<4x8xf32>  =>  four calls of @fusion.exp.v8f32, one per row

Upstream would call libdevice or libm, and scalarise vectors. The callees are only declared here;
`elementary.definitions` supplies their bodies once the module is LLVM IR.
"""

import itertools
from collections.abc import Callable, Sequence

from mlirfuse.lowering.codegen.elementary import FUNCTIONS, symbol
from mlirfuse.lowering.codegen.walk import operations_named
from mlirfuse.mlir import arith, ir, vector

__all__ = ["expand_math"]

_FUNCTION_OF = {f"math.{name}": name for name in FUNCTIONS if name not in ("fabs", "fmod", "pow", "rint")} | {
    "arith.remf": "fmod",
    "math.absf": "fabs",
    "math.powf": "pow",
    "math.roundeven": "rint",
}


def expand_math(scope: ir.Operation, vectors: bool) -> None:
    """Expand every op under `scope`, a module or gpu.module whose symbols may be added to.

    `vectors` tells whether rows of vectors go to one call of a vector function, or one call per
    element. f16 and bf16 are computed in f32; f64 is left alone.
    """
    found = operations_named(scope, {*_FUNCTION_OF, *_SIMPLE})
    used: set[tuple[str, int]] = set()
    for op in found:
        with ir.InsertionPoint(op), op.location:
            if op.name in _SIMPLE:
                result = _SIMPLE[op.name](op)
            elif isinstance(_element(op.operands[0].type), ir.F64Type):
                continue
            else:
                result = _expand(op, vectors, used)
        op.results[0].replace_all_uses_with(result)
        op.erase()
    _declare(scope, used)


def _expand(op: ir.Operation, vectors: bool, used: set[tuple[str, int]]) -> ir.Value:
    name = _FUNCTION_OF[op.name]
    operands = [_to_f32(v) for v in op.operands]
    if isinstance(operands[0].type, ir.VectorType):
        result = _by_pieces(name, operands, vectors, used)
    else:
        result = _call(name, 1, operands, used)
    wanted = op.results[0].type
    return result if result.type == wanted else arith.TruncFOp(wanted, result).result


def _by_pieces(name: str, operands: list[ir.Value], vectors: bool, used: set[tuple[str, int]]) -> ir.Value:
    """Call on each row of vectors (or each element) and put the results back together."""
    kind = ir.VectorType(operands[0].type)
    shape = list(kind.shape)
    lanes = shape.pop() if vectors and shape else 1
    if vectors and not shape:
        return _call(name, lanes, operands, used)
    result = arith.ConstantOp(
        kind, ir.DenseElementsAttr.get_splat(kind, ir.FloatAttr.get(ir.F32Type.get(), 0.0))
    ).result
    for position in itertools.product(*map(range, shape)):
        pieces = [vector.ExtractOp(v, [], list(position)).result for v in operands]
        result = vector.InsertOp(_call(name, lanes, pieces, used), result, [], list(position)).result
    return result


def _call(name: str, lanes: int, operands: Sequence[ir.Value], used: set[tuple[str, int]]) -> ir.Value:
    used.add((name, lanes))
    attributes = {
        "callee": ir.FlatSymbolRefAttr.get(symbol(name, lanes)),
        "operandSegmentSizes": ir.DenseI32ArrayAttr.get([len(operands), 0]),
        "op_bundle_sizes": ir.DenseI32ArrayAttr.get([]),
    }
    return ir.Operation.create(
        "llvm.call", results=[operands[0].type], operands=list(operands), attributes=attributes
    ).result


def _declare(scope: ir.Operation, used: set[tuple[str, int]]) -> None:
    with ir.InsertionPoint.at_block_begin(scope.regions[0].blocks[0]) as point:
        for name, lanes in sorted(used):
            kind = "f32" if lanes == 1 else f"vector<{lanes}xf32>"
            parameters = ", ".join([kind] * FUNCTIONS[name].parameters)
            point.insert(ir.Operation.parse(f'llvm.func @"{symbol(name, lanes)}"({parameters}) -> {kind}'))


def _element(kind: ir.Type) -> ir.Type:
    return kind.element_type if isinstance(kind, ir.ShapedType) else kind


def _with_element(kind: ir.Type, element: ir.Type) -> ir.Type:
    return ir.VectorType.get(kind.shape, element) if isinstance(kind, ir.VectorType) else element


def _to_f32(value: ir.Value) -> ir.Value:
    f32 = ir.F32Type.get()
    return value if _element(value.type) == f32 else arith.ExtFOp(_with_element(value.type, f32), value).result


def _constant(kind: ir.Type, value: float) -> ir.Value:
    scalar = ir.FloatAttr.get(_element(kind), value)
    attribute = ir.DenseElementsAttr.get_splat(kind, scalar) if isinstance(kind, ir.VectorType) else scalar
    return arith.ConstantOp(kind, attribute).result


def _is_nan(op: ir.Operation) -> ir.Value:
    x = op.operands[0]
    return arith.CmpFOp(arith.CmpFPredicate.UNO, x, x).result


def _magnitude_against_infinity(predicate: arith.CmpFPredicate) -> Callable[[ir.Operation], ir.Value]:
    def compare(op: ir.Operation) -> ir.Value:
        x = op.operands[0]
        infinity, negated = _constant(x.type, float("inf")), arith.NegFOp(x).result
        return arith.CmpFOp(predicate, arith.MaximumFOp(x, negated).result, infinity).result

    return compare


def _clamp(op: ir.Operation) -> ir.Value:
    value, low, high = op.operands
    return arith.MinimumFOp(arith.MaximumFOp(value, low).result, high).result


def _absolute_integer(op: ir.Operation) -> ir.Value:
    x = op.operands[0]
    zero = arith.SubIOp(x, x).result
    return arith.MaxSIOp(x, arith.SubIOp(zero, x).result).result


# ops that need no function of their own
_SIMPLE: dict[str, Callable[[ir.Operation], ir.Value]] = {
    "math.absi": _absolute_integer,
    "math.clampf": _clamp,
    "math.isfinite": _magnitude_against_infinity(arith.CmpFPredicate.OLT),
    "math.isinf": _magnitude_against_infinity(arith.CmpFPredicate.OEQ),
    "math.isnan": _is_nan,
}
