"""Random graphs of the functions that rules are about: rewriting keeps their numbers and lowers their measure."""

import numpy as np
import pytest
from term_modules import TermModule, close_to, computed, flops, leaf_bytes, nodes

from mlirfuse.dialect import WeightStore, build, type_from_mlir
from mlirfuse.frontend import interpret
from mlirfuse.lowering.algebra.functions import FUNCTIONS
from mlirfuse.lowering.algebra.rewrite_algebra import rewrites_of
from mlirfuse.lowering.passes import PassPipeline
from mlirfuse.mlir import context, ir

SHAPES = ((3, 4, 5), (4, 5), (5,), (4, 1), (1, 1, 1), ())
UNARY = {"float32": ("Abs", "Square", "Recip", "Neg", "Exp", "Tanh", "Relu"), "int32": ("Abs", "Square", "Neg", "Relu")}
BINARY = {"float32": ("Add", "Sub", "Mul", "Div", "Max", "Min"), "int32": ("Add", "Sub", "Mul", "Max", "Min", "BitAnd")}


class RandomGraph(TermModule):
    """Operations on random earlier values, so that many have several readers; a few of the values are results."""

    def __init__(self, seed, dtype, size):
        self.random = np.random.default_rng(seed)
        self.dtype = dtype
        super().__init__({f"x{i}": self._array(SHAPES[self.random.integers(len(SHAPES))]) for i in range(4)}, {})
        self.known = list(self.values.values())
        for _ in range(size):
            self.known.append(self._grow())
        unread = [v for v in self.known[4:] if not list(v.uses)]
        chosen = [self.known[i] for i in self.random.integers(4, len(self.known), 2)]
        self.results = list({id(v): v for v in (*unread, *chosen)}.values())
        self.close(*self.results)

    def _array(self, shape):
        if self.dtype == "int32":
            return self.random.integers(-(2**31), 2**31 - 1, shape).astype(np.int32)
        return (self.random.uniform(0.5, 1.5, shape) * self.random.choice((-1, 1), shape)).astype(np.float32)

    def _grow(self):
        recent = self.known[-6:] if self.random.random() < 0.7 else self.known
        a, b = (recent[i] for i in self.random.integers(len(recent), size=2))
        draw = self.random.random()
        if draw < 0.3:
            return self._op(UNARY[self.dtype], a)
        rank = type_from_mlir(a.type).rank
        if draw < 0.4 and rank:
            attrs = {"axes": (int(self.random.integers(rank)),), "keepdims": bool(self.random.integers(2))}
            return self._op(("ReduceSum", "ReduceMax"), a, **attrs)
        return self._op(BINARY[self.dtype], a, b)

    def _op(self, functions, *operands, **attrs):
        op, kind = FUNCTIONS[functions[self.random.integers(len(functions))]]
        with ir.InsertionPoint(self.block):
            self.count += 1
            try:
                return build(op, operands, {"kind": kind, **attrs}, onnx_nodes=(f"n{self.count}",))
            except ValueError:  # shapes that do not broadcast
                return build("unary", operands[:1], {"kind": "neg"}, onnx_nodes=(f"n{self.count}",))


@pytest.mark.parametrize("allow", ["exact", "reassociating"])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("seed", [*range(18), 104, 148])
def test_numbers_stay_and_the_measure_falls(seed, dtype, allow):
    texts = []
    for _ in range(2):
        store = WeightStore()
        with context(), store.active():
            graph = RandomGraph(seed, dtype, 14)
            module = graph.module
            arrays = graph.arrays
            PassPipeline.of(["canonicalize", "cse"]).run(module)
            measure, before, names = _measure(module), interpret(module, store, arrays), nodes(module)
            PassPipeline.of([f"fusion-rewrite-algebra{{allow={allow}}}"]).run(module)
            assert module.operation.verify()
            applied = [s for s in rewrites_of(module) if not s.reason]
            after = interpret(module, store, arrays)
            texts.append(str(module))
        assert _measure_falls(measure, module, applied)
        assert nodes_kept(names, module) or not applied
        for name in before:
            if dtype == "int32" or allow == "exact":
                np.testing.assert_array_equal(before[name], after[name])
                zeros = before[name] == 0
                np.testing.assert_array_equal(np.signbit(before[name][zeros]), np.signbit(after[name][zeros]))
            elif np.isfinite(before[name]).all() and np.abs(before[name]).max() < 1e4:
                assert close_to(before[name], after[name], 2e-3)
    assert texts[0] == texts[1]


def _measure(module):
    return flops(module), leaf_bytes(module), len(computed(module))


def _measure_falls(measure, module, applied):
    with context():
        return _measure(module) < measure if applied else _measure(module) == measure


def nodes_kept(names, module):
    """Names go only with values that nothing reads any more."""
    with context():
        return nodes(module) <= names
