"""One key for one structure, whatever its parts are called and in which order they stand; another for any other."""

import dataclasses
import json
import random

import pytest

from mlirfuse.dialect import Node, TensorType
from mlirfuse.lowering.profile import Operation, structure_key, structure_of

F = TensorType((2, 3))


def unary(kind, source, result, tensor=F):
    return Operation(Node("unary", {"kind": kind}, (tensor,), (tensor,)), (source,), result)


def binary(kind, a, b, result, tensor=F, constant=(False, False)):
    return Operation(Node("binary", {"kind": kind}, (tensor, tensor), (tensor,), constant), (a, b), result)


def diamond(x="x", w="w", names=("a", "b", "c")):
    """exp(x) - w * tanh(x)"""
    a, b, c = names
    return [
        unary("exp", x, a),
        unary("tanh", x, b),
        binary("mul", w, b, c, constant=(True, False)),
        binary("sub", a, c, "y"),
    ]


def key(operations, outputs=("y",), kinds=None, layout="", returned=()):
    return structure_key(structure_of(operations, outputs, kinds, layout, returned))


def shuffled(operations, seed):
    """Another topological order of the same operations."""
    generator, waiting, done, made = random.Random(seed), list(operations), [], set()
    results = {o.result for o in operations}
    while waiting:
        ready = [o for o in waiting if all(v not in results or v in made for v in o.operands)]
        chosen = generator.choice(ready)
        waiting.remove(chosen)
        done.append(chosen)
        made.add(chosen.result)
    return done


def test_names_and_order_do_not_matter():
    expected = key(diamond())
    assert key(diamond("in", "weight 7", (17, ("made", 3), "z"))) == expected
    assert {key(shuffled(diamond(), seed)) for seed in range(20)} == {expected}


def test_order_of_interchangeable_parts_does_not_matter():
    """Twelve branches of three kinds, all returned: values that only their readers tell apart."""
    kinds = ["exp", "tanh", "exp", "relu"] * 3
    branches = [unary(kind, f"x{i % 5}", f"a{i}") for i, kind in enumerate(kinds)]
    sums = [binary("add", f"a{i}", f"a{(i * 5 + 1) % 12}", f"y{i}") for i in range(12)]
    outputs = [f"y{i}" for i in range(12)]
    expected = key([*branches, *sums], outputs)
    for seed in range(20):
        random.Random(seed).shuffle(outputs)
        assert key(shuffled([*branches, *sums], seed), outputs) == expected


def with_node(position, **changes):
    operations = diamond()
    o = operations[position]
    operations[position] = dataclasses.replace(o, node=dataclasses.replace(o.node, **changes))
    return operations


@pytest.mark.parametrize(
    "other",
    [
        lambda: key(diamond(w="x")),  # one input read twice is less to read
        lambda: key(with_node(0, attrs={"kind": "log"})),
        lambda: key(with_node(2, constant=(False, False))),
        lambda: key(diamond(), ("y", "a")),
        lambda: key(diamond(), layout="nhwc"),
        lambda: key(diamond(), returned=("y",)),
        lambda: key(diamond(), kinds={"x": "argument"}),
        lambda: key(diamond(), kinds={"w": "splat 2.0"}),
        lambda: key(with_node(3, outputs=(TensorType((2, 3), layout=(1, 0)),))),
        lambda: key(diamond()[:-1], ("a", "c")),
        lambda: key([*diamond()[:3], binary("sub", "c", "a", "y")]),
    ],
)
def test_everything_else_matters(other):
    assert other() != key(diamond())


@pytest.mark.parametrize("change", [TensorType((3, 2)), TensorType((2, 3), "float16")])
def test_types_matter(change):
    assert key([unary("exp", "x", "y", change)]) != key([unary("exp", "x", "y")])


def test_two_splats_of_one_value_are_one_structure():
    one = key(diamond(), kinds={"w": "splat 2.0"})
    assert key(diamond(w="other"), kinds={"other": "splat 2.0"}) == one != key(diamond(), kinds={"w": "splat 3.0"})


def test_the_text_tells_the_whole_group():
    data = json.loads(structure_of(diamond(), ["y"], layout="nchw"))
    assert [op[0][0] for op in data["ops"]] == ["unary", "unary", "binary", "binary"]
    assert data["inputs"] == [["2x3xfloat32", "value"], ["2x3xfloat32", "weight"]]
    assert data["layout"] == "nchw" and len(data["outputs"]) == 1
