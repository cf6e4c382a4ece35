"""What exporters write in several nodes is one launch, or in the launch of the convolution before it."""

import numpy as np
import pytest
from onnx import checker, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from mlirfuse import CompileOptions
from mlirfuse.compiler import compile_artifact
from mlirfuse.runtime import load

ROWS = "float[2, 5, 16] x"
IMAGE = "float[1, 8, 6, 6] x"
PIXELS = "float[1, 6, 6, 8] x"
CONV = "c = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w, v)"
WEIGHTS = "float[8, 8, 3, 3] w, float[8] v"


def rows(nodes, constants="", literals=""):
    return text(ROWS, constants, literals, nodes, "float[2, 5, 16] y")


def image(nodes, literals="", constants=""):
    return text(
        IMAGE, ", ".join(c for c in (WEIGHTS, constants) if c), literals, f"{CONV} {nodes}", "float[1, 8, 6, 6] y"
    )


def text(x, constants, literals, nodes, y):
    return f"g ({', '.join(c for c in (x, constants) if c)}) => ({y}) <{literals}> {{ {nodes} }}"


AFFINE = "float[16] gamma, float[16] beta"
IDIOMS = {
    "layer norm with Pow": rows(
        """m = ReduceMean <axes = [-1]> (x)  d = Sub(x, m)  s = Pow(d, two)  u = ReduceMean <axes = [-1]> (s)
        e = Add(u, eps)  r = Sqrt(e)  n = Div(d, r)  t = Mul(n, gamma)  y = Add(t, beta)""",
        AFFINE, "float two = {2.0}, float eps = {1e-5}",
    ),
    "layer norm with Mul": rows(
        """m = ReduceMean <axes = [-1]> (x)  d = Sub(x, m)  s = Mul(d, d)  u = ReduceMean <axes = [-1]> (s)
        e = Add(u, eps)  r = Sqrt(e)  n = Div(d, r)  t = Mul(n, gamma)  y = Add(t, beta)""",
        AFFINE, "float eps = {1e-5}",
    ),
    "layer norm subtracting twice": rows(
        """m = ReduceMean <axes = [-1]> (x)  d = Sub(x, m)  b = Sub(x, m)  s = Pow(b, two)
        u = ReduceMean <axes = [-1]> (s)  e = Add(u, eps)  r = Sqrt(e)  n = Div(d, r)  t = Mul(n, gamma)
        y = Add(t, beta)""",
        AFFINE, "float two = {2.0}, float eps = {1e-5}",
    ),
    "layer norm of TensorFlow": rows(
        """m = ReduceMean <axes = [-1]> (x)  d = Sub(x, m)  s = Mul(d, d)  u = ReduceMean <axes = [-1]> (s)
        e = Add(u, eps)  r = Sqrt(e)  i = Reciprocal(r)  k = Mul(i, gamma)  a = Mul(x, k)  b = Mul(m, k)
        f = Sub(beta, b)  y = Add(a, f)""",
        AFFINE, "float eps = {1e-3}",
    ),
    "layer norm after a residual": rows(
        """h = Add(x, bias)  m = ReduceMean <axes = [-1]> (h)  d = Sub(h, m)  s = Pow(d, two)
        u = ReduceMean <axes = [-1]> (s)  e = Add(u, eps)  r = Sqrt(e)  n = Div(d, r)  t = Mul(n, gamma)
        y = Add(t, beta)""",
        f"{AFFINE}, float[16] bias", "float two = {2.0}, float eps = {1e-5}",
    ),
    "root mean square norm": rows(
        """s = Pow(x, two)  u = ReduceMean <axes = [-1]> (s)  e = Add(u, eps)  r = Sqrt(e)  i = Div(one, r)
        n = Mul(x, i)  y = Mul(gamma, n)""",
        "float[16] gamma", "float two = {2.0}, float one = {1.0}, float eps = {1e-5}",
    ),
    "root mean square norm with Reciprocal": rows(
        """s = Mul(x, x)  u = ReduceMean <axes = [-1]> (s)  e = Add(u, eps)  r = Sqrt(e)  i = Reciprocal(r)
        n = Mul(x, i)  y = Mul(n, gamma)""",
        "float[16] gamma", "float eps = {1e-5}",
    ),
    "root mean square norm with Div": rows(
        """s = Mul(x, x)  u = ReduceMean <axes = [-1]> (s)  e = Add(u, eps)  r = Sqrt(e)  n = Div(x, r)
        y = Mul(n, gamma)""",
        "float[16] gamma", "float eps = {1e-5}",
    ),
    "GELU with Erf": rows(
        "a = Div(x, root)  b = Erf(a)  c = Add(b, one)  d = Mul(x, c)  y = Mul(d, half)",
        "", "float root = {1.4142135}, float one = {1.0}, float half = {0.5}",
    ),
    "GELU with Tanh and Pow": rows(
        """a = Pow(x, three)  b = Mul(a, small)  c = Add(x, b)  d = Mul(c, root)  e = Tanh(d)  f = Add(e, one)
        h = Mul(x, f)  y = Mul(h, half)""",
        "", "float three = {3.0}, float small = {0.044715}, float root = {0.7978846}, float one = {1.0}, "
        "float half = {0.5}",
    ),
    "GELU with Tanh and Mul": rows(
        """p = Mul(x, x)  a = Mul(p, x)  b = Mul(a, small)  c = Add(x, b)  d = Mul(c, root)  e = Tanh(d)
        f = Add(e, one)  h = Mul(x, half)  y = Mul(h, f)""",
        "", "float small = {0.044715}, float root = {0.7978846}, float one = {1.0}, float half = {0.5}",
    ),
    "Mish": image("a = Softplus(c)  b = Tanh(a)  y = Mul(c, b)"),
    "HardSwish with Clip": image(
        "a = Add(c, three)  b = Clip(a, zero, six)  d = Div(b, six)  y = Mul(c, d)",
        "float three = {3.0}, float zero = {0.0}, float six = {6.0}",
    ),
    "HardSwish multiplying first": image(
        "a = Add(c, three)  b = Clip(a, zero, six)  d = Mul(c, b)  y = Div(d, six)",
        "float three = {3.0}, float zero = {0.0}, float six = {6.0}",
    ),
    "HardSwish with HardSigmoid": image("a = HardSigmoid <alpha = 0.16666667> (c)  y = Mul(c, a)"),
    "HardSigmoid": image("y = HardSigmoid(c)"),
    "SiLU": image("a = Sigmoid(c)  y = Mul(c, a)"),
    "batch norm, SiLU and a residual": image(
        "n = BatchNormalization(c, g, b, m, s)  a = Sigmoid(n)  d = Mul(n, a)  y = Add(x, d)",
        "", "float[8] g, float[8] b, float[8] m, float[8] s",
    ),
    "PReLU": image("y = PRelu(c, slope)", "", "float[8, 1, 1] slope"),
    "group norm": text(
        IMAGE, "float[2] ones, float[2] zeros, float[8, 1, 1] gamma, float[8, 1, 1] beta",
        "int64[3] groups = {0, 2, -1}",
        """a = Reshape(x, groups)  n = InstanceNormalization(a, ones, zeros)  z = Shape(x)  b = Reshape(n, z)
        t = Mul(b, gamma)  y = Add(t, beta)""",
        "float[1, 8, 6, 6] y",
    ),
    "mask of constants": text(
        "float[2, 4, 8] x", "",
        "float[1, 1, 8] mask = {1, 1, 1, 1, 1, 0, 0, 0}, float one = {1.0}, float low = {-10000.0}",
        "a = Sub(one, mask)  b = Mul(a, low)  c = Add(x, b)  y = Softmax <axis = -1> (c)",
        "float[2, 4, 8] y",
    ),
    "mask of booleans": text(
        "float[2, 4, 8] x", "", "int64[1, 1, 8] mask = {1, 1, 1, 1, 1, 0, 0, 0}, float low = {-10000.0}",
        "a = Cast <to = 9> (mask)  n = Not(a)  c = Where(n, low, x)  y = Softmax <axis = -1> (c)",
        "float[2, 4, 8] y",
    ),
    "channels last around one convolution": text(
        PIXELS, WEIGHTS, "",
        f"""i = Transpose <perm = [0, 3, 1, 2]> (x)  {CONV.replace("(x,", "(i,")}
        o = Transpose <perm = [0, 2, 3, 1]> (c)  y = Relu(o)""",
        "float[1, 6, 6, 8] y",
    ),
}  # fmt: skip

CHAINS = {
    "channels last around two convolutions": text(
        PIXELS, WEIGHTS, "float six = {6.0}, float zero = {0.0}",
        f"""i = Transpose <perm = [0, 3, 1, 2]> (x)  {CONV.replace("(x,", "(i,")}
        o = Transpose <perm = [0, 2, 3, 1]> (c)  r = Clip(o, zero, six)  j = Transpose <perm = [0, 3, 1, 2]> (r)
        d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (j, w, v)  p = Transpose <perm = [0, 2, 3, 1]> (d)
        y = Add(p, r)""",
        "float[1, 6, 6, 8] y",
    ),
    "bias and scale after the transposition": text(
        PIXELS, "float[8, 8, 3, 3] w, float[8] v, float[8] g, float[8] b", "",
        f"""i = Transpose <perm = [0, 3, 1, 2]> (x)  {CONV.replace("(x,", "(i,")}
        o = Transpose <perm = [0, 2, 3, 1]> (c)  s = Mul(o, g)  t = Add(s, b)  r = Relu(t)
        j = Transpose <perm = [0, 3, 1, 2]> (r)
        d = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (j, w, v)  y = Relu(d)""",
        "float[1, 8, 6, 6] y",
    ),
}  # fmt: skip


def model(graph):
    """The graph with its inputs but the first as random initializers."""
    built = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {graph}')
    random = np.random.default_rng(5)
    for value in list(built.graph.input)[1:]:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        array = np.zeros(shape) if value.name == "zeros" else np.ones(shape) if value.name == "ones" else None
        array = random.uniform(0.2, 0.8, shape) if array is None else array
        built.graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), value.name))
        built.graph.input.remove(value)
    checker.check_model(built)
    return built


@pytest.mark.parametrize("target", ["cpu", "simulator"])
@pytest.mark.parametrize("graph", IDIOMS.values(), ids=IDIOMS)
def test_an_idiom_is_one_launch_and_right(graph, target):
    assert launches_of(graph, target, CompileOptions()) == 1


@pytest.mark.parametrize("target", ["cpu", "simulator"])
@pytest.mark.parametrize("graph", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize(("fusion", "launches"), [("no-cross-layer", 2), ("full", 1)])
def test_what_is_between_two_convolutions_is_in_their_launches(graph, target, fusion, launches):
    """So small a pair is one kernel, if kernels may have several layers."""
    assert launches_of(graph, target, CompileOptions(fusion=fusion)) == launches


def launches_of(graph, target, options):
    """The launches of a model that computes what the reference does."""
    built = model(graph)
    executable = load(compile_artifact(built, target, options, isolated=False))
    inputs = {s.name: np.random.default_rng(6).standard_normal(s.shape).astype(s.dtype) for s in executable.inputs}
    (expected,) = ReferenceEvaluator(built).run(None, inputs)
    np.testing.assert_allclose(executable.run(inputs)["y"], expected, rtol=2e-4, atol=2e-4)
    return executable.report().to_dict()["totals"]["launches"]
