"""Random graphs of the operators of DNNFusion's table: each cell is as likely as any other."""

from __future__ import annotations

import math
from typing import Any

from answers import RandomModel
from hypothesis import strategies as st
from table_operators import OPERATORS, SHAPES, Sketch

from mlirfuse.dialect import MappingType

__all__ = ["random_sketches"]

ELEMENTS = 6000  # of the largest value


def _fits(sketch: Sketch, name: str) -> bool:
    """Whether a value is small, and not only of rank zero."""
    shape = sketch.shapes[name]
    return 0 < math.prod(shape) <= ELEMENTS and 2 <= len(shape) <= 5


def _step(draw: Any, sketch: Sketch, value: str) -> str:
    """One operator: first how it maps, then which it is; the value itself where none fits."""
    mapping = draw(st.sampled_from(MappingType.ORDER))
    rank = len(sketch.shapes[value])
    operator = draw(st.sampled_from([o for o in OPERATORS[mapping] if o.rank in (None, rank)] or OPERATORS[mapping]))
    if operator.rank not in (None, rank):
        return value
    before = len(sketch.nodes), len(sketch.weights), len(sketch.inputs)
    result = operator.make(sketch, value)
    if result is not None and _fits(sketch, result):
        return result
    del sketch.nodes[before[0] :], sketch.weights[before[1] :], sketch.inputs[before[2] :]
    sketch.shapes = {v: s for v, s in sketch.shapes.items() if v in sketch.inputs or _made(sketch, v)}
    return value


def _made(sketch: Sketch, value: str) -> bool:
    return any(value in n.output for n in sketch.nodes)


def _join(draw: Any, sketch: Sketch, value: str) -> str:
    """Added to another value of its shape, or to itself."""
    alike = [v for v, shape in sketch.shapes.items() if shape == sketch.shapes[value]]
    return sketch.node(draw(st.sampled_from(["Add", "Mul", "Max"])), value, draw(st.sampled_from(alike)))


@st.composite
def random_sketches(draw: Any) -> RandomModel:
    """Up to eight operators, each of the last value or an earlier one; one to three outputs."""
    sketch = Sketch()
    value = sketch.input(*SHAPES[draw(st.sampled_from([2, 3, 4, 4, 4, 5]))])
    for _ in range(draw(st.integers(2, 8))):
        if draw(st.integers(0, 3)) == 0:
            value = draw(st.sampled_from([v for v in sketch.shapes if _fits(sketch, v)]))
        value = _step(draw, sketch, value) if draw(st.integers(0, 5)) else _join(draw, sketch, value)
    if not sketch.nodes:
        value = sketch.node("Relu", value)
    used = {v for n in sketch.nodes for v in n.input}
    ends = [v for v in sketch.shapes if v not in used and v not in sketch.inputs]
    made = [v for v in sketch.shapes if v not in sketch.inputs]
    outputs = dict.fromkeys((*ends, *([draw(st.sampled_from(made))] if draw(st.booleans()) else [])))
    return RandomModel(sketch.model(*outputs), sketch.arrays())
