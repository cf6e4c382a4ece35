"""What a rewritten graph computes: the same numbers, from fewer ops."""

import collections

import numpy as np
import pytest

from mlirfuse.dialect import TensorType, WeightStore, build, onnx_nodes, type_from_mlir, type_to_mlir
from mlirfuse.frontend import interpret
from mlirfuse.lowering.passes import PassPipeline
from mlirfuse.mlir import context, func, ir


class Network:
    """A module under construction: `x` is an argument, `weight` a constant; every op becomes one ONNX node."""

    def __init__(self, store, *shapes):
        self.store, self.random = store, np.random.default_rng(7)
        self.module = ir.Module.create()
        types = [type_to_mlir(TensorType(shape)) for shape in shapes]
        with ir.InsertionPoint(self.module.body):
            self.function = func.FuncOp("main", (types, []))
        self.block = self.function.add_entry_block()
        self.arguments = list(self.block.arguments)

    def op(self, name, *operands, **attrs):
        with ir.InsertionPoint(self.block):
            count = len(list(self.block.operations))
            return build(name, operands, attrs, onnx_nodes=(f"n{count}",))

    def weight(self, *shape, array=None):
        array = self.random.uniform(0.5, 1.5, shape).astype(np.float32) if array is None else np.asarray(array)
        with ir.InsertionPoint(self.block):
            tensor = TensorType(array.shape, array.dtype.name)
            return build("weight", [], {"key": self.store.put(array)}, result=tensor)

    def conv(self, x, weight, stride=1, pad=1, groups=1):
        rank = type_from_mlir(x.type).rank - 2
        return self.op(
            "conv", x, weight, strides=(stride,) * rank, pads=(pad,) * (2 * rank), dilations=(1,) * rank,
            input_dilation=(1,) * rank, groups=groups,
        )  # fmt: skip

    def close(self, *results):
        with ir.InsertionPoint(self.block):
            func.ReturnOp(list(results))
        types = ir.FunctionType.get([a.type for a in self.arguments], [r.type for r in results])
        self.function.attributes["function_type"] = ir.TypeAttr.get(types)
        names = [f"x{i}" for i in range(len(self.arguments))]
        for key, values in (("inputs", names), ("outputs", [f"y{i}" for i in range(len(results))])):
            self.function.attributes[f"fusion.{key}"] = ir.ArrayAttr.get([ir.StringAttr.get(v) for v in values])
        return self.module

    def inputs(self):
        return {
            f"x{i}": self.random.standard_normal(type_from_mlir(a.type).dims).astype(np.float32)
            for i, a in enumerate(self.arguments)
        }


def kinds(module):
    block = next(iter(module.body.operations)).operation.regions[0].blocks[0]
    names = [op.operation for op in block]
    return collections.Counter(
        op.attributes["kind"].value if "kind" in op.attributes else op.name.removeprefix("fusion.")
        for op in names
        if op.name not in ("fusion.weight", "fusion.splat", "func.return")
    )


def nodes(module):
    block = next(iter(module.body.operations)).operation.regions[0].blocks[0]
    return {name for op in block for name in onnx_nodes(op)}


@pytest.fixture
def store():
    store = WeightStore()
    with context(), store.active():
        yield store


def check(network, results, passes, expected, tolerance=1e-5):
    """Run passes; the outputs stay, the ops become `expected`, and every ONNX node is still accounted for."""
    module = network.close(*results)
    inputs, before_nodes = network.inputs(), nodes(module)
    before = interpret(module, network.store, inputs)
    PassPipeline.of([*passes, "canonicalize"]).run(module)
    after = interpret(module, network.store, inputs)
    for name in before:
        scale = np.abs(before[name]).max() + 1e-9
        np.testing.assert_allclose(after[name] / scale, before[name] / scale, atol=tolerance)
    assert kinds(module) == expected
    assert nodes(module) == before_nodes
    return module


@pytest.mark.parametrize(("groups", "rank"), [(1, 2), (2, 2), (4, 1), (1, 3)])
def test_batch_normalisation_goes_into_a_convolution(store, groups, rank):
    net = Network(store, (2, 4, *[6] * rank))
    ones = (1,) * rank
    x = net.conv(net.arguments[0], net.weight(8, 4 // groups, *[3] * rank), groups=groups)
    x = net.op("binary", x, net.weight(1, 8, *ones), kind="add")
    x = net.op("binary", x, net.weight(8, *ones), kind="mul")
    x = net.op("binary", net.weight(1, 8, *ones), x, kind="add")
    x = net.op("binary", x, net.weight(8, *ones), kind="div")
    x = net.op("binary", x, net.weight(8, *ones), kind="sub")
    check(net, [x], ["fusion-fold-scale"], {"conv": 1, "add": 1})


@pytest.mark.parametrize("groups", [1, 2])
def test_a_scaled_input_goes_into_the_weight(store, groups):
    net = Network(store, (1, 4, 6, 6))
    x = net.op("binary", net.arguments[0], net.weight(4, 1, 1), kind="mul")
    check(net, [net.conv(x, net.weight(8, 4 // groups, 3, 3), groups=groups)], ["fusion-fold-scale"], {"conv": 1})


def test_a_shifted_input_stays(store):
    """Padding is 0 before the shift and something else after it."""
    net = Network(store, (1, 4, 6, 6))
    x = net.op("binary", net.arguments[0], net.weight(4, 1, 1), kind="add")
    check(net, [net.conv(x, net.weight(8, 4, 3, 3))], ["fusion-fold-scale"], {"conv": 1, "add": 1})


@pytest.mark.parametrize(
    ("equation", "a", "b", "factor", "folds"),
    [
        ("mk,kn->mn", (5, 4), (4, 3), (3,), True),
        ("mk,nk->mn", (5, 4), (3, 4), (1, 3), True),
        ("bmk,bkn->bmn", (2, 5, 4), (2, 4, 3), (2, 1, 3), True),
        ("bmk,kn->bnm", (2, 5, 4), (4, 3), (3, 1), True),
        ("mk,kn->mn", (5, 4), (4, 3), (5, 1), False),
        ("bmk,bkn->bmn", (2, 5, 4), (1, 4, 3), (2, 1, 3), False),
    ],
)
def test_a_factor_goes_into_a_contraction_that_has_its_dimensions(store, equation, a, b, factor, folds):
    net = Network(store, a)
    y = net.op("contract", net.arguments[0], net.weight(*b), equation=equation)
    y = net.op("binary", y, net.weight(*factor), kind="mul")
    check(net, [y], ["fusion-fold-scale"], {"contract": 1} if folds else {"contract": 1, "mul": 1})


def test_a_constant_as_large_as_the_image_does_not_grow_the_weights(store):
    net = Network(store, (1, 4, 6, 6))
    x = net.op("binary", net.arguments[0], net.weight(4, 1, 1), kind="mul")
    x = net.op("binary", x, net.weight(1, 1, 6, 6), kind="mul")
    check(net, [x], ["fusion-fold-scale"], {"mul": 2})


def test_constant_chains_fold_away(store):
    net = Network(store, (4, 4))
    c = net.op("transpose", net.op("unary", net.weight(2, 8), kind="exp"), perm=(1, 0))
    c = net.op("reduce", net.op("reshape", c, shape=(4, 4)), kind="sum", axes=(1,), keepdims=True)
    module = net.close(net.op("binary", net.arguments[0], c, kind="add"))
    inputs = net.inputs()
    before = interpret(module, store, inputs)
    PassPipeline.of(["fusion-fold-constants", "canonicalize"]).run(module)
    assert kinds(module) == {"add": 1}
    np.testing.assert_array_equal(interpret(module, store, inputs)["y0"], before["y0"])


def test_what_is_not_a_number_stays_a_weight(store):
    net = Network(store, (4,))
    c = net.op("unary", net.weight(array=np.full(4, -1.0, np.float32)), kind="sqrt")
    module = net.close(net.op("binary", net.arguments[0], c, kind="add"))
    PassPipeline.of(["fusion-fold-constants", "canonicalize"]).run(module)
    assert "fusion.weight" in str(module) and "fusion.splat" not in str(module)


def test_layer_normalisation_with_its_spellings(store):
    for square, root in (("square", "div"), ("mul", "reciprocal"), ("pow", "rsqrt")):
        net = Network(store, (3, 5, 16))
        x = net.arguments[0]
        mean = net.op("reduce", x, kind="mean", axes=(2,), keepdims=True)
        d = net.op("binary", x, mean, kind="sub")
        with ir.InsertionPoint(net.block):
            two = build("splat", [], {"value": 2.0}, result=TensorType(()))
            eps = build("splat", [], {"value": 1e-5}, result=TensorType(()))
        s = {
            "square": lambda d=d, net=net: net.op("unary", d, kind="square"),
            "mul": lambda d=d, net=net: net.op("binary", d, d, kind="mul"),
            "pow": lambda d=d, net=net, two=two: net.op("binary", d, two, kind="pow"),
        }[square]()
        v = net.op("binary", eps, net.op("reduce", s, kind="mean", axes=(2,), keepdims=True), kind="add")
        if root == "div":
            y = net.op("binary", d, net.op("unary", v, kind="sqrt"), kind="div")
        elif root == "reciprocal":
            y = net.op("binary", d, net.op("unary", net.op("unary", v, kind="sqrt"), kind="reciprocal"), kind="mul")
        else:
            y = net.op("binary", d, net.op("unary", v, kind="rsqrt"), kind="mul")
        module = net.close(net.op("binary", y, net.weight(16), kind="mul"))
        inputs = net.inputs()
        before = interpret(module, store, inputs)["y0"]
        PassPipeline.of(["fusion-recognize-rows", "canonicalize"]).run(module)
        assert kinds(module) == {"normalize": 1, "mul": 1}, square
        np.testing.assert_allclose(interpret(module, store, inputs)["y0"], before, atol=1e-5)


def test_constants_are_shared_out_to_the_parts_of_a_concatenation(store):
    net = Network(store, (2, 4, 3), (2, 2, 3))
    parts = [net.op("unary", x, kind="tanh") for x in net.arguments]
    y = net.op("concat", *parts, axis=1)
    y = net.op("binary", y, net.weight(6, 1), kind="mul")
    y = net.op("unary", net.op("binary", net.weight(1, 3), y, kind="sub"), kind="relu")
    check(net, [y], ["fusion-move-past-concats"], {"tanh": 2, "mul": 2, "sub": 2, "relu": 2, "concat": 1})


def test_movement_that_cancels(store):
    net = Network(store, (2, 3, 4))
    x = net.op("unary", net.arguments[0], kind="tanh")
    x = net.op("reshape", net.op("transpose", x, perm=(0, 2, 1)), shape=(2, 4, 3, 1))
    x = net.op("transpose", net.op("transpose", x, perm=(3, 0, 1, 2)), perm=(1, 2, 3, 0))
    x = net.op("slice", x, starts=(0, 1, 0, 0), sizes=(2, 3, 2, 1), steps=(1, 1, 2, 1))
    x = net.op("slice", x, starts=(1, 2, 0, 0), sizes=(1, 2, 2, 1), steps=(1, -2, 1, 1))
    check(net, [x], ["fusion-remove-identities"], {"tanh": 1, "transpose": 1, "reshape": 1, "slice": 1})


def test_expansion_is_left_to_the_reader(store):
    net = Network(store, (4, 1), (3, 4, 5))
    e = net.op("expand", net.arguments[0], shape=(3, 4, 5))
    check(net, [net.op("binary", e, net.arguments[1], kind="add")], ["fusion-remove-identities"], {"add": 1})
    alone = Network(store, (4, 1), (4, 1))
    e = alone.op("expand", alone.arguments[0], shape=(4, 5))
    y = alone.op("binary", e, alone.arguments[1], kind="add")
    check(alone, [y], ["fusion-remove-identities"], {"expand": 1, "add": 1})


def test_casts_that_lose_nothing_are_one(store):
    net = Network(store, (8,))
    x = net.op("cast", net.op("cast", net.arguments[0], to="float64"), to="float16")
    check(net, [net.op("cast", x, to="float32")], ["fusion-remove-identities"], {"cast": 2})


def test_siblings_are_computed_together(store):
    net = Network(store, (2, 6, 5, 5))
    parts = []
    for channels in (4, 3, 5):
        y = net.conv(net.arguments[0], net.weight(channels, 6, 3, 3))
        y = net.op("binary", y, net.weight(channels, 1, 1), kind="add")
        y = net.op("unary", net.op("binary", net.weight(1), y, kind="mul"), kind="tanh")
        parts.append(net.op("reduce", y, kind="sum", axes=(1,), keepdims=False))
    expected = {"conv": 1, "add": 1, "mul": 1, "tanh": 1, "slice": 3, "sum": 3}
    check(net, parts, ["fusion-join-siblings"], expected)


TAILS = {  # kinds of three siblings' steps, and those of the one they become
    "a term": ((("add",), (), ("add",)), {"add": 1}),
    "a factor": ((("mul", "add"), ("add",), ("mul",)), {"mul": 1, "add": 1}),
    "before and after": ((("add", "tanh"), ("tanh", "mul"), ("tanh",)), {"add": 1, "tanh": 1, "mul": 1}),
    "another order": ((("add", "mul"), ("mul", "add"), ()), {"add": 2, "mul": 1}),
    "differences and quotients": ((("sub",), ("div",), ()), {"sub": 1, "div": 1}),
}


@pytest.mark.parametrize(("tails", "steps"), TAILS.values(), ids=TAILS)
def test_what_one_sibling_lacks_is_neutral(store, tails, steps):
    net = Network(store, (2, 6, 5, 5))
    parts = []
    for tail, channels in zip(tails, (4, 3, 5), strict=True):
        y = net.conv(net.arguments[0], net.weight(channels, 6, 3, 3))
        for kind in tail:
            unary = kind == "tanh"
            y = net.op("unary", y, kind=kind) if unary else net.op("binary", y, net.weight(channels, 1, 1), kind=kind)
        parts.append(net.op("reduce", y, kind="sum", axes=(1,), keepdims=False))
    check(net, parts, ["fusion-join-siblings"], {"conv": 1, "slice": 3, "sum": 3, **steps})


def test_siblings_with_other_activations_stay_apart(store):
    net = Network(store, (2, 6, 5, 5))
    a, b = (net.conv(net.arguments[0], net.weight(4, 6, 3, 3)) for _ in range(2))
    parts = [net.op("reduce", y, kind="max", axes=(1,), keepdims=False) for y in (net.op("unary", a, kind="tanh"), b)]
    check(net, parts, ["fusion-join-siblings"], {"conv": 2, "tanh": 1, "max": 2})


@pytest.mark.parametrize("equation", ["bsk,kn->bsn", "bsk,nk->bns"])
def test_projections_are_computed_together(store, equation):
    net = Network(store, (2, 5, 6))
    parts = []
    for size in (4, 7):
        shape = (6, size) if "kn" in equation else (size, 6)
        y = net.op("contract", net.arguments[0], net.weight(*shape), equation=equation)
        y = net.op("binary", y, net.weight(size) if "kn" in equation else net.weight(size, 1), kind="add")
        parts.append(net.op("softmax", y, axes=(1,), log=False))
    check(net, parts, ["fusion-join-siblings"], {"contract": 1, "add": 1, "slice": 2, "softmax": 2})
