"""Prove from the IR alone that no two values in use at the same time share bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mlirfuse.dialect import attribute_value
from mlirfuse.element_types import element_bytes
from mlirfuse.lowering.plan.buffers import Place, Program, Value, read_places, read_program
from mlirfuse.lowering.plan.memory import ALIGNMENT
from mlirfuse.mlir import ir

__all__ = ["check_arena"]


def check_arena(function: ir.Operation, in_parallel: bool = False) -> list[str]:
    """What is wrong with the buffers of a function; empty if nothing is.

    In program order, or with `in_parallel` for every order of steps that keeps the dependencies.
    """
    program, places = read_program(function), read_places(function)
    size = attribute_value(function, "fusion.arena_bytes", 0)
    complaints = list(_each_alone(program, places, size))
    return complaints + list(_parts(program, places)) + list(_pairs(program, places, in_parallel))


def _each_alone(program: Program, places: list[Place], arena_bytes: int) -> Iterator[str]:
    for number, (value, place) in enumerate(zip(program.values, places, strict=True)):
        if place.host is not None:
            continue
        if place.bytes != value.tensor.bytes:
            yield f"value {number} has {value.tensor.bytes} bytes, but its place {place.bytes}"
        if place.output != program.values[program.root(number)].output:
            yield f"value {number} lies in output {place.output}, not {program.values[program.root(number)].output}"
        if value.whole is None and place.strides != value.tensor.strides():
            yield f"value {number} has strides {place.strides}, but its type says {value.tensor.strides()}"
        if value.whole is None and place.offset % ALIGNMENT:
            yield f"value {number} starts at byte {place.offset}, no multiple of {ALIGNMENT}"
        if place.output is None and place.offset + place.span(value.tensor) > arena_bytes:
            yield f"value {number} ends after the arena's {arena_bytes} bytes"


def _parts(program: Program, places: list[Place]) -> Iterator[str]:
    """Every part of a concatenation is the slice of the whole that its indices say."""
    for number, value in enumerate(program.values):
        if value.whole is None:
            continue
        part, whole = places[number], places[value.whole]
        start = value.start * whole.strides[value.axis] * element_bytes(value.tensor.dtype)
        if (part.offset, part.strides) != (whole.offset + start, whole.strides):
            where = f"the part of value {value.whole} that starts at {value.start} on axis {value.axis}"
            yield f"value {number} is not {where}"


def _pairs(program: Program, places: list[Place], in_parallel: bool) -> Iterator[str]:
    """No two roots overlap while both are in use."""
    spans = _spans(program, places)
    finished = _Finished(program) if in_parallel else None
    for i, (a, low_a, high_a) in enumerate(spans):
        for b, low_b, high_b in spans[i + 1 :]:
            if low_b >= high_a:
                break  # sorted by where they start
            if low_a >= high_b or low_a == high_a or low_b == high_b:
                continue
            together = finished.together(a, b) if finished else _live_together(program, a, b)
            if together:
                shared = f"bytes {max(low_a, low_b)} to {min(high_a, high_b)}"
                yield f"values {a} and {b} are in use at once and share {shared}"


def _spans(program: Program, places: list[Place]) -> list[tuple[int, int, int]]:
    """(root, first byte, end) of every root in the arena, by first byte."""
    roots = [
        (n, places[n].offset, places[n].offset + places[n].span(v.tensor))
        for n, v in enumerate(program.values)
        if v.whole is None and places[n].host is None and places[n].output is None
    ]
    return sorted(roots, key=lambda item: (item[1], item[0]))


def _members(program: Program, root: int) -> list[Value]:
    return [v for n, v in enumerate(program.values) if program.root(n) == root]


def _live_together(program: Program, a: int, b: int) -> bool:
    """By walking the program: whether some step finds both in use."""
    lives = []
    for root in (a, b):
        steps = [s for v in _members(program, root) for s in (*v.readers, *(() if v.writer is None else (v.writer,)))]
        lives.append(range(min(steps), max(steps) + 1))
    return lives[0].start < lives[1].stop and lives[1].start < lives[0].stop


class _Finished:
    """Whether one value is done with before another is begun, whatever the order of independent steps."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._ancestors: list[set[int]] = []
        for waits in program.waits_for:
            self._ancestors.append({s for w in waits for s in (w, *self._ancestors[w])})

    def together(self, a: int, b: int) -> bool:
        return not self._done_before(a, b) and not self._done_before(b, a)

    def _done_before(self, a: int, b: int) -> bool:
        uses: set[Any] = {s for v in _members(self._program, a) for s in (*v.readers, v.writer) if s is not None}
        writers = {v.writer for v in _members(self._program, b) if v.writer is not None}
        return all(use in self._ancestors[writer] for writer in writers for use in uses)
