"""Side conditions of rules, by the words that rules state them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mlirfuse.lowering.algebra.trial import Trial

__all__ = ["CONDITIONS"]


def _one_type(first: str, second: str) -> Callable[[Trial], bool]:
    return lambda trial: trial[trial.value(first)].type == trial[trial.value(second)].type


def _one_number(trial: Trial) -> bool:
    return trial[trial.value("C")].type.size == 1


def _full(trial: Trial) -> bool:
    return trial[trial.value("B")].type == trial.graph[trial.match.root].type


def _reduced(trial: Trial) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The dimensions of what the root reduces, and its axes."""
    graph = trial.graph
    dims = graph[graph[trial.match.root].operands[0]].type.dims
    return dims, tuple(dict(trial.match.bindings["@reduce"])["axes"])


def _fixed(trial: Trial) -> bool:
    """Every axis that is reduced has one element in C, or C lacks it."""
    dims, axes = _reduced(trial)
    c = trial[trial.value("C")].type
    return all(axis < len(dims) - c.rank or c.dims[axis - (len(dims) - c.rank)] == 1 for axis in axes)


def _whole(trial: Trial) -> bool:
    """A has the rank of what is reduced, and its extent along what is reduced."""
    dims, axes = _reduced(trial)
    a = trial[trial.value("A")].type
    return a.rank == len(dims) and all(a.dims[axis] == dims[axis] for axis in axes)


def _sign(positive: bool) -> Callable[[Trial], bool]:
    def holds(trial: Trial) -> bool:
        number = trial[trial.value("C")].splat
        return number is not None and (number >= 0 if positive else number <= 0)

    return holds


def _rising(trial: Trial) -> bool:
    return all(
        dict(attrs).get("alpha", 0.0) >= 0
        for slot, attrs in trial.match.bindings.items()
        if slot in ("@Elu", "@LeakyRelu")
    )


CONDITIONS: Mapping[str, Callable[[Trial], bool]] = {
    "A and B have one type": _one_type("A", "B"),
    "B and C have one type": _one_type("B", "C"),
    "B has the type of the result": _full,
    "C is one number": _one_number,
    "C is constant along the reduced axes": _fixed,
    "A has the reduced axes": _whole,
    "C is a constant and not negative": _sign(True),
    "C is a constant and not positive": _sign(False),
    "its slope is not negative": _rising,
}
