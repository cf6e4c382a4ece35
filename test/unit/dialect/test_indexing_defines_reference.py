"""Every op's indexing function, evaluated element by element, gives what its NumPy reference gives."""

import zlib
from typing import Any

import numpy as np
import pytest
from indexing_interpreter import COMBINE, evaluate
from op_cases import GENERATORS

from mlirfuse.dialect import Node, TensorType, semantics

CASES = 25


def node_for(op: str, attrs: dict[str, Any], arrays: list[Any]) -> Node:
    inputs = tuple(TensorType(a.shape, a.dtype.name) for a in arrays)
    node = Node(op, attrs, inputs)
    out = semantics(op).infer(node)
    complete = Node(op, attrs, inputs, (out,))
    assert semantics(op).complaint(complete) is None
    return complete


def usable(op: str, attrs: dict[str, Any], arrays: list[Any]) -> bool:
    node = Node(op, attrs, tuple(TensorType(a.shape, a.dtype.name) for a in arrays))
    out = semantics(op).infer(node)
    return all(d > 0 for d in out.dims)


def test_every_op_with_semantics_has_a_generator():
    from mlirfuse.dialect import OPS

    computed = {name for name, cls in OPS.items() if not cls.structural}
    assert computed == set(COMBINE) == {g.__name__.rstrip("_") for g in GENERATORS}


@pytest.mark.parametrize("generator", GENERATORS, ids=lambda g: g.__name__.rstrip("_"))
def test_indexing_gives_what_the_reference_gives(generator):
    for seed in range(CASES):
        rng = np.random.default_rng([seed, zlib.crc32(generator.__name__.encode())])
        op, attrs, arrays = generator(rng)
        if not usable(op, attrs, arrays):
            continue
        node = node_for(op, attrs, arrays)
        with np.errstate(all="ignore"):
            expected = semantics(op).reference(node, *arrays)
            found = evaluate(node, arrays)
        assert (expected.shape, expected.dtype) == (node.out.dims, np.dtype(node.out.dtype)), (seed, attrs)
        np.testing.assert_allclose(
            found.astype(np.float64),
            expected.astype(np.float64),
            rtol=2e-3 if expected.dtype == np.float16 else 1e-4,
            atol=1e-5,
            err_msg=f"{seed} {attrs}",
        )
