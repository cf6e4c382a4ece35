"""Each step against numpy, and recipes that cannot be followed."""

from typing import Any

import numpy as np
import pytest

from mlirfuse.artifact import Artifact, Recipe, apply_steps
from mlirfuse.errors import ArtifactError

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
OTHER = np.array([2, 3], np.float32)
MATRIX = [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"op": "transpose", "perm": [2, 0, 1]}, X.transpose(2, 0, 1)),
        ({"op": "reshape", "shape": [6, -1]}, X.reshape(6, 4)),
        ({"op": "cast", "dtype": "float16"}, X.astype(np.float16)),
        (
            {"op": "pad", "widths": [[0, 0], [0, 1], [2, 0]], "value": 7},
            np.pad(X, [(0, 0), (0, 1), (2, 0)], constant_values=7),
        ),
        ({"op": "slice", "bounds": [[None, None, None], [1, 3, 1], [None, None, 2]]}, X[:, 1:3, ::2]),
        ({"op": "flip", "axes": [0, 2]}, X[::-1, :, ::-1]),
        ({"op": "broadcast", "shape": [5, 2, 3, 4]}, np.broadcast_to(X, (5, 2, 3, 4))),
        ({"op": "take", "indices": [2, 0], "axis": 1}, X[:, [2, 0]]),
        ({"op": "concat", "with": ["x"], "axis": 0}, np.concatenate([X, X])),
        ({"op": "scale", "value": 0.5}, X * np.float32(0.5)),
        ({"op": "shift", "value": 1}, X + np.float32(1)),
        ({"op": "multiply", "by": "other", "shape": [2, 1, 1]}, X * OTHER[:, None, None]),
        ({"op": "divide", "by": "other", "shape": [2, 1, 1]}, X / OTHER[:, None, None]),
        ({"op": "add", "by": "x"}, X + X),
        ({"op": "subtract", "by": "x"}, X - X),
        ({"op": "sqrt"}, np.sqrt(X)),
        ({"op": "negate"}, -X),
        (
            {"op": "einsum", "subscripts": "ri,ijk->rjk", "matrix": MATRIX},
            np.einsum("ri,ijk->rjk", np.float32(MATRIX), X),
        ),
    ],
    ids=lambda value: value["op"] if isinstance(value, dict) else "",
)
def test_a_step_does_what_numpy_does(step: dict[str, Any], expected: np.ndarray) -> None:
    made = apply_steps(X, (step,), {"x": X, "other": OTHER}.__getitem__)
    assert made.dtype == expected.dtype
    np.testing.assert_array_equal(made, expected)


def test_tf32_rounds_to_nearest_ties_away_and_keeps_infinities() -> None:
    one = np.float32(1)
    step = np.float32(2**-10)
    x = np.array([1, 1 + step / 2, 1 + step / 4, -1 - step / 2, np.inf, -np.inf, np.nan], np.float32)
    made = apply_steps(x, ({"op": "round_tf32"},), {}.__getitem__)
    np.testing.assert_array_equal(made, np.array([one, one + step, one, -one - step, np.inf, -np.inf, np.nan]))


def store(**weights: Any) -> Artifact:
    return Artifact("m", "cpu", "fp32", (), (), {}, weights)


def test_a_chain_of_recipes_survives_a_round_trip() -> None:
    half = Recipe("x", ({"op": "scale", "value": 0.5}, {"op": "cast", "dtype": "float16"}), (2, 3, 4), "float16")
    flat = Recipe("half", ({"op": "reshape", "shape": [24]},), (24,), "float16")
    back = Artifact.from_bytes(store(x=X, half=half, flat=flat).to_bytes())
    np.testing.assert_array_equal(back.weight("flat"), (X * 0.5).astype(np.float16).ravel())


def test_bfloat16_weights_survive_a_round_trip() -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = X.astype(ml_dtypes.bfloat16)
    cast = Recipe("x", ({"op": "cast", "dtype": "bfloat16"},), X.shape, "bfloat16")
    back = Artifact.from_bytes(store(x=X, plain=values, cast=cast).to_bytes())
    np.testing.assert_array_equal(back.weight("plain"), values)
    np.testing.assert_array_equal(back.weight("cast"), values)


def test_a_seed_gives_the_same_weight_on_every_machine() -> None:
    source = {"seed": 0, "name": "conv.weight", "init": "normal", "shape": [2, 2], "std": 0.5, "mean": 1.0}
    made = store(w=Recipe(source, (), (2, 2), "float32")).weight("w")
    np.testing.assert_allclose(made, store(w=Recipe(dict(source), (), (2, 2), "float32")).weight("w"))
    other = store(w=Recipe({**source, "name": "other"}, (), (2, 2), "float32")).weight("w")
    assert not np.array_equal(made, other)


@pytest.mark.parametrize("init", ["uniform", "zeros", "ones", "const"])
def test_every_initializer_yields_its_shape(init: str) -> None:
    source = {"seed": 3, "init": init, "shape": [4, 5], "lo": -1.0, "hi": 1.0, "value": 2.5}
    assert store(w=Recipe(source, (), (4, 5), "float32")).weight("w").shape == (4, 5)


@pytest.mark.parametrize(
    ("recipe", "complaint"),
    [
        (Recipe("x", ({"op": "transpose", "perm": [0, 0, 1]},), (2, 2, 3), "float32"), "fails on"),
        (Recipe("x", ({"op": "transpose"},), (2, 2, 3), "float32"), "fails on"),
        (Recipe("x", ({"op": "reshape", "shape": [5]},), (5,), "float32"), "fails on"),
        (Recipe("x", ({"op": "pad", "widths": [[0, 2**60], [0, 0], [0, 0]]},), (1,), "float32"), "fails on"),
        (Recipe("x", (), (24,), "float32"), "was promised"),
        (Recipe("x", (), (2, 3, 4), "float16"), "was promised"),
        (Recipe("loop", (), (1,), "float32"), "refers to itself"),
        (Recipe({"init": "magic", "shape": [1]}, (), (1,), "float32"), "one of normal"),
        (Recipe({"init": "normal", "shape": [2**40, 2**20]}, (), (1,), "float32"), "cannot be made"),
        (Recipe({"init": "normal", "shape": [1], "std": "x"}, (), (1,), "float32"), "a number"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_an_artifact_error(recipe: Recipe, complaint: str) -> None:
    with pytest.raises(ArtifactError, match=complaint):
        store(x=X, loop=recipe).weight("loop")


def test_an_unknown_step_is_refused_when_read() -> None:
    data = store(x=X, w=Recipe("x", ({"op": "dance"},), (2, 3, 4), "float32")).to_bytes()
    with pytest.raises(ArtifactError, match="one of transpose"):
        Artifact.from_bytes(data)
