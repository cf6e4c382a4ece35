"""Single operations against NumPy, on lane arrays, on uniform scalars and on vectors."""

import math

import numpy as np
import pytest
from simulator_kernels import module

from mlirfuse.simulator import Kernel

SIZE = 64
DTYPES = {"f32": np.float32, "f16": np.float16, "f64": np.float64, "i32": np.int32, "i8": np.int8, "i64": np.int64}


def apply(op: str, operands: list[np.ndarray], kind: str, out: str) -> np.ndarray:
    """y[t] = op(operands[0][t], ...): `op` says {0}, {1}, ... for its operands."""
    memrefs = [f"memref<{SIZE}x{kind}, {{G}}>" for _ in operands]
    arguments = ", ".join([*(f"%x{i}: {m}" for i, m in enumerate(memrefs)), f"%y: memref<{SIZE}x{out}, {{G}}>"])
    loads = "\n".join(f"%a{i} = affine.load %x{i}[%t] : {m}" for i, m in enumerate(memrefs))
    value = op.format(*(f"%a{i}" for i in range(len(operands))))
    body = f"%t = gpu.thread_id x\n{loads}\n{value}\naffine.store %r, %y[%t] : memref<{SIZE}x{out}, {{G}}>"
    y = np.zeros(SIZE, DTYPES[out])
    Kernel.from_text(module(arguments, body), "k").launch((1,), (SIZE,), [*operands, y], "check")
    return y


RANDOM = np.random.default_rng(7)
FLOATS = [RANDOM.standard_normal(SIZE).astype(np.float32) * 3 for _ in range(3)]
INTEGERS = [RANDOM.integers(-100, 100, SIZE).astype(np.int32) for _ in range(2)]
INTEGERS[1][INTEGERS[1] == 0] = 3


def half_away(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.floor(np.abs(x) + 0.5)


UNARY = {
    "math.exp": np.exp, "math.exp2": np.exp2, "math.tanh": np.tanh, "math.erf": np.vectorize(math.erf),
    "math.erfc": np.vectorize(math.erfc),
    "math.sin": np.sin, "math.cos": np.cos, "math.atan": np.arctan, "math.absf": np.abs, "math.floor": np.floor,
    "math.ceil": np.ceil, "math.trunc": np.trunc, "math.round": half_away, "math.roundeven": np.rint,
    "math.expm1": np.expm1, "arith.negf": np.negative,
}  # fmt: skip
POSITIVE = {
    "math.log": np.log, "math.log2": np.log2, "math.log1p": np.log1p, "math.sqrt": np.sqrt,
    "math.rsqrt": lambda x: 1 / np.sqrt(x), "math.log10": np.log10,
}  # fmt: skip
BINARY = {
    "arith.addf": np.add, "arith.subf": np.subtract, "arith.mulf": np.multiply, "arith.divf": np.divide,
    "arith.remf": np.fmod, "arith.maximumf": np.maximum, "arith.minimumf": np.minimum, "arith.maxnumf": np.fmax,
    "arith.minnumf": np.fmin, "math.copysign": np.copysign, "math.atan2": np.arctan2,
}  # fmt: skip
INTEGER = {
    "arith.addi": np.add, "arith.subi": np.subtract, "arith.muli": np.multiply, "arith.andi": np.bitwise_and,
    "arith.ori": np.bitwise_or, "arith.xori": np.bitwise_xor, "arith.maxsi": np.maximum, "arith.minsi": np.minimum,
    "arith.floordivsi": np.floor_divide, "arith.divsi": lambda a, b: np.trunc(a / b),
    "arith.remsi": np.fmod, "arith.ceildivsi": lambda a, b: np.ceil(a / b),
    "arith.divui": lambda a, b: (a.view(np.uint32) // b.view(np.uint32)).view(np.int32),
    "arith.remui": lambda a, b: (a.view(np.uint32) % b.view(np.uint32)).view(np.int32),
    "arith.maxui": lambda a, b: np.maximum(a.view(np.uint32), b.view(np.uint32)).view(np.int32),
    "arith.minui": lambda a, b: np.minimum(a.view(np.uint32), b.view(np.uint32)).view(np.int32),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY | POSITIVE)
def test_unary(name: str) -> None:
    x = np.abs(FLOATS[0]) + np.float32(0.1) if name in POSITIVE else FLOATS[0]
    reference = (UNARY | POSITIVE)[name](x.astype(np.float64))
    for kind, tolerance in (("f32", 1e-6), ("f64", 1e-12)):
        operand = x.astype(DTYPES[kind])
        y = apply(f"%r = {name} {{0}} : {kind}", [operand], kind, kind)
        np.testing.assert_allclose(y, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str) -> None:
    operands = FLOATS[:2]
    reference = BINARY[name](*(x.astype(np.float64) for x in operands))
    y = apply(f"%r = {name} {{0}}, {{1}} : f32", operands, "f32", "f32")
    np.testing.assert_allclose(y, reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", INTEGER)
def test_integer(name: str) -> None:
    y = apply(f"%r = {name} {{0}}, {{1}} : i32", INTEGERS, "i32", "i32")
    np.testing.assert_array_equal(y, INTEGER[name](*INTEGERS).astype(np.int32))


def test_shifts() -> None:
    a, b = INTEGERS[0], np.abs(INTEGERS[1]) % 31
    for name, expected in (
        ("shli", a << b), ("shrsi", a >> b), ("shrui", (a.view(np.uint32) >> b.view(np.uint32)).view(np.int32)),
    ):  # fmt: skip
        np.testing.assert_array_equal(apply(f"%r = arith.{name} {{0}}, {{1}} : i32", [a, b], "i32", "i32"), expected)


def test_nan_rules() -> None:
    x, y = np.full(SIZE, np.nan, np.float32), np.ones(SIZE, np.float32)
    for name, nan in (("maximumf", True), ("minimumf", True), ("maxnumf", False), ("minnumf", False)):
        assert np.isnan(apply(f"%r = arith.{name} {{0}}, {{1}} : f32", [x, y], "f32", "f32")).all() == nan


@pytest.mark.parametrize("predicate", ["eq", "ne", "slt", "sle", "sgt", "sge", "ult", "ule", "ugt", "uge"])
def test_cmpi(predicate: str) -> None:
    a, b = INTEGERS[0].copy(), INTEGERS[1]
    a[:8] = b[:8]
    operator = {
        "eq": "equal",
        "ne": "not_equal",
        "lt": "less",
        "le": "less_equal",
        "gt": "greater",
        "ge": "greater_equal",
    }
    unsigned = predicate[0] == "u"
    left, right = (v.view(np.uint32) if unsigned else v for v in (a, b))
    expected = getattr(np, operator[predicate[-2:]])(left, right)
    code = f"%c = arith.cmpi {predicate}, {{0}}, {{1}} : i32\n%r = arith.extui %c : i1 to i32"
    np.testing.assert_array_equal(apply(code, [a, b], "i32", "i32"), expected)


@pytest.mark.parametrize(
    "predicate", [*(o + p for o in "ou" for p in ("eq", "gt", "ge", "lt", "le", "ne")), "ord", "uno", "false", "true"]
)
def test_cmpf(predicate: str) -> None:
    a, b = FLOATS[0].copy(), FLOATS[1].copy()
    a[:8], a[8:12], b[10:14] = b[:8], np.nan, np.nan
    ordered = ~(np.isnan(a) | np.isnan(b))
    kinds = {
        "eq": a == b, "gt": a > b, "ge": a >= b, "lt": a < b, "le": a <= b, "ne": a != b,
        "ord": ordered, "uno": ~ordered, "false": a < -np.inf, "true": ordered | ~ordered,
    }  # fmt: skip
    if predicate in kinds:
        expected = kinds[predicate]
    else:
        expected = kinds[predicate[1:]] & ordered if predicate[0] == "o" else kinds[predicate[1:]] | ~ordered
    code = f"%c = arith.cmpf {predicate}, {{0}}, {{1}} : f32\n%r = arith.select %c, {{0}}, {{1}} : f32"
    np.testing.assert_array_equal(apply(code, [a, b], "f32", "f32"), np.where(expected, a, b))


@pytest.mark.parametrize(
    ("code", "kind", "out", "reference"),
    [
        ("%r = arith.truncf {0} : f32 to f16", "f32", "f16", lambda x: x.astype(np.float16)),
        ("%r = arith.extf {0} : f32 to f64", "f32", "f64", lambda x: x.astype(np.float64)),
        ("%r = arith.fptosi {0} : f32 to i32", "f32", "i32", lambda x: x.astype(np.int32)),
        ("%r = arith.sitofp {0} : i32 to f32", "i32", "f32", lambda x: x.astype(np.float32)),
        ("%r = arith.uitofp {0} : i32 to f32", "i32", "f32", lambda x: x.view(np.uint32).astype(np.float32)),
        ("%r = arith.extsi {0} : i32 to i64", "i32", "i64", lambda x: x.astype(np.int64)),
        ("%r = arith.extui {0} : i32 to i64", "i32", "i64", lambda x: x.view(np.uint32).astype(np.int64)),
        ("%r = arith.trunci {0} : i32 to i8", "i32", "i8", lambda x: x.astype(np.int8)),
        ("%r = arith.bitcast {0} : f32 to i32", "f32", "i32", lambda x: x.view(np.int32)),
        ("%c = arith.trunci {0} : i32 to i1\n%r = arith.extsi %c : i1 to i32", "i32", "i32", lambda x: -(x & 1)),
        ("%i = arith.index_cast {0} : i32 to index\n%r = arith.index_cast %i : index to i64", "i32", "i64", np.int64),
        ("%b = arith.truncf {0} : f32 to bf16\n%r = arith.extf %b : bf16 to f32", "f32", "f32", None),
    ],
)  # fmt: skip
def test_casts(code: str, kind: str, out: str, reference: object) -> None:
    x = INTEGERS[0] if kind == "i32" else FLOATS[0]
    y = apply(code, [x], kind, out)
    if reference is None:  # bf16 keeps eight significant bits
        np.testing.assert_allclose(y, x, rtol=2**-8)
    else:
        np.testing.assert_array_equal(y, reference(x))  # type: ignore[operator]


def vectors(code: str, out_width: int) -> np.ndarray:
    """y[t, :] = code with %a = x[4t : 4t + 4], a vector, and %s = x[t]."""
    x_type, y_type = f"memref<{SIZE * 4}xf32, {{G}}>", f"memref<{SIZE * out_width}xf32, {{G}}>"
    body = f"""
      %t = gpu.thread_id x
      %a = affine.vector_load %x[4 * %t] : {x_type}, vector<4xf32>
      %s = affine.load %x[%t] : {x_type}
      {code}
      affine.vector_store %r, %y[{out_width} * %t] : {y_type}, vector<{out_width}xf32>"""
    y = np.zeros(SIZE * out_width, np.float32)
    text = module(f"%x: {x_type}, %y: {y_type}", body)
    Kernel.from_text(text, "k").launch((1,), (SIZE,), [X.reshape(-1), y], "check")
    return y.reshape(SIZE, out_width)


X = RANDOM.standard_normal((SIZE, 4)).astype(np.float32)
S = X.reshape(-1)[:SIZE]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("%r = arith.addf %a, %a : vector<4xf32>", 2 * X),
        ("%r = vector.broadcast %s : f32 to vector<4xf32>", np.repeat(S[:, None], 4, 1)),
        ("%b = vector.broadcast %s : f32 to vector<4xf32>\n%r = vector.fma %a, %b, %b : vector<4xf32>", None),
        ("%r = vector.shuffle %a, %a [3, 2, 4, 0] : vector<4xf32>, vector<4xf32>", X[:, [3, 2, 0, 0]]),
        ("%r = vector.shuffle %a, %a [5, 6] : vector<4xf32>, vector<4xf32>", X[:, 1:3]),
        ("%r = vector.insert %s, %a [2] : f32 into vector<4xf32>", np.c_[X[:, :2], S, X[:, 3]]),
        (
            "%e = vector.extract %a[1] : f32 from vector<4xf32>\n%r = vector.from_elements %e, %s : vector<2xf32>",
            np.c_[X[:, 1], S],
        ),
        (
            "%e:4 = vector.to_elements %a : vector<4xf32>\n%r = vector.from_elements %e#3, %e#0 : vector<2xf32>",
            X[:, [3, 0]],
        ),
        (
            "%r = vector.extract_strided_slice %a {offsets = [1], sizes = [2], strides = [1]} "
            ": vector<4xf32> to vector<2xf32>",
            X[:, 1:3],
        ),
        (
            "%v = vector.extract_strided_slice %a {offsets = [0], sizes = [2], strides = [1]} "
            ": vector<4xf32> to vector<2xf32>\n"
            "%r = vector.insert_strided_slice %v, %a {offsets = [2], strides = [1]} : vector<2xf32> into vector<4xf32>",
            X[:, [0, 1, 0, 1]],
        ),
        (
            "%m = vector.shape_cast %a : vector<4xf32> to vector<2x2xf32>\n"
            "%n = vector.transpose %m, [1, 0] : vector<2x2xf32> to vector<2x2xf32>\n"
            "%r = vector.shape_cast %n : vector<2x2xf32> to vector<4xf32>",
            X[:, [0, 2, 1, 3]],
        ),
        (
            "%i = vector.bitcast %a : vector<4xf32> to vector<8xf16>\n"
            "%r = vector.bitcast %i : vector<8xf16> to vector<4xf32>",
            X,
        ),
        (
            "%n = vector.reduction <add>, %a, %s : vector<4xf32> into f32\n"
            "%r = vector.broadcast %n : f32 to vector<1xf32>",
            (X.sum(1) + S)[:, None],
        ),
        (
            "%n = vector.reduction <maximumf>, %a : vector<4xf32> into f32\n"
            "%r = vector.broadcast %n : f32 to vector<1xf32>",
            X.max(1)[:, None],
        ),
        (
            "%p = affine.apply affine_map<(t) -> (t mod 4)>(%t)\n%e = vector.extract %a[%p] : f32 from vector<4xf32>\n"
            "%r = vector.insert %s, %a [%p] : f32 into vector<4xf32>",
            np.where(np.arange(4) == np.arange(SIZE)[:, None] % 4, S[:, None], X),
        ),
        (
            "%k = arith.constant dense<[1.0, 2.0, 3.0, 4.0]> : vector<4xf32>\n%r = arith.mulf %a, %k : vector<4xf32>",
            X * np.arange(1, 5, dtype=np.float32),
        ),
        (
            "%z = arith.constant dense<0.0> : vector<4xf32>\n%c = arith.cmpf ogt, %a, %z : vector<4xf32>\n"
            "%r = arith.select %c, %a, %z : vector<4xi1>, vector<4xf32>",
            np.maximum(X, 0),
        ),
        (
            "%z = arith.constant 0.0 : f32\n%c = arith.cmpf ogt, %s, %z : f32\n"
            "%v = arith.constant dense<0.0> : vector<4xf32>\n%w = arith.constant dense<1.0> : vector<4xf32>\n"
            "%r = arith.select %c, %w, %v : vector<4xf32>",
            np.repeat((S > 0).astype(np.float32)[:, None], 4, 1),
        ),
    ],
)  # fmt: skip
def test_vector(code: str, expected: np.ndarray | None) -> None:
    if expected is None:
        expected = X * S[:, None] + S[:, None]
    np.testing.assert_allclose(vectors(code, expected.shape[1]), expected, rtol=1e-6)


def test_uniform_scalars() -> None:
    """The same operations on constants: no lane array is involved until the store."""
    body = """
      %a = arith.constant -7 : i32
      %b = arith.constant 2 : i32
      %q = arith.divsi %a, %b : i32
      %m = arith.remsi %a, %b : i32
      %u = arith.shrui %a, %b : i32
      %x = arith.constant 2.25 : f32
      %s = math.sqrt %x : f32
      %e = math.erf %x : f32
      %h = math.round %x : f32
      %i = arith.index_cast %a : i32 to index
      %c3 = arith.constant 3 : index
      %d = arith.floordivsi %i, %c3 : index
      %n = arith.divui %c3, %c3 : index
      %t = arith.cmpi ult, %i, %c3 : index
      %k = arith.index_cast %d : index to i32
      %l = arith.index_cast %n : index to i32
      %o = arith.extui %t : i1 to i32
      memref.store %q, %y[%c0] : memref<7xi32, {G}>
      memref.store %m, %y[%c1] : memref<7xi32, {G}>
      memref.store %u, %y[%c2] : memref<7xi32, {G}>
      memref.store %k, %y[%c3] : memref<7xi32, {G}>
      memref.store %l, %y[%c4] : memref<7xi32, {G}>
      memref.store %o, %y[%c5] : memref<7xi32, {G}>
      memref.store %s, %z[%c0] : memref<3xf32, {G}>
      memref.store %e, %z[%c1] : memref<3xf32, {G}>
      memref.store %h, %z[%c2] : memref<3xf32, {G}>"""
    constants = "\n".join(f"%c{i} = arith.constant {i} : index" for i in (0, 1, 2, 4, 5))
    y, z = np.zeros(7, np.int32), np.zeros(3, np.float32)
    text = module("%y: memref<7xi32, {G}>, %z: memref<3xf32, {G}>", constants + body)
    Kernel.from_text(text, "k").launch((1,), (1,), [y, z], "check")
    assert y.tolist() == [-3, -1, 0x3FFFFFFE, -3, 1, 0, 0]
    np.testing.assert_allclose(z, [1.5, math.erf(2.25), 2.0], rtol=1e-7)
