"""Polynomials that come close to the least largest error, fitted when first needed."""

import functools
from collections.abc import Callable

import numpy as np
from numpy.polynomial import chebyshev, polynomial

__all__ = ["fit", "odd_tail"]


@functools.cache
def fit(function: Callable[[np.ndarray], np.ndarray], low: float, high: float, degree: int) -> tuple[float, ...]:
    """Coefficients, constant first, of the Chebyshev interpolant of `function` on [low, high].

    `function` maps an array of float64; it has to be smooth on the interval. The largest error is
    within a small factor of the minimax polynomial's (Trefethen, Approximation Theory and
    Approximation Practice, chapter 16).
    """
    nodes = np.cos(np.pi * (np.arange(400) + 0.5) / 400)
    x = (low + high) / 2 + (high - low) / 2 * nodes
    in_nodes = chebyshev.cheb2poly(chebyshev.chebfit(nodes, function(x), degree))
    # substitute nodes = (2 x - (low + high)) / (high - low), by Horner's rule on polynomials
    inner = np.array([-(low + high), 2.0]) / (high - low)
    result = np.zeros(1)
    for c in reversed(in_nodes):
        result = polynomial.polyadd(polynomial.polymul(result, inner), [c])
    return tuple(float(c) for c in result)


@functools.cache
def odd_tail(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """P of function(x) = x + x u P(u) with u = x^2, for an odd function whose slope at zero is one."""

    def tail(u: np.ndarray) -> np.ndarray:
        x = np.sqrt(u)
        return (function(x) / x - 1) / u

    return tail
