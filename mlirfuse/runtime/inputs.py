"""Inputs for measurements, where the caller gives none."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlirfuse.artifact import TensorSpec
from mlirfuse.artifact.dtypes import numpy_dtype

__all__ = ["random_inputs"]


def random_inputs(specs: Sequence[TensorSpec], seed: int = 0) -> list[np.ndarray[Any, Any]]:
    """Seeded arrays: floats are normal, integers and booleans zero, which is valid as an index too."""
    generator = np.random.default_rng(seed)
    made = []
    for spec in specs:
        dtype, shape = numpy_dtype(spec.dtype), tuple(1 if n is None else n for n in spec.shape)
        floating = "float" in spec.dtype or "complex" in spec.dtype
        values = generator.standard_normal(shape, np.float32) if floating else np.zeros(shape)
        made.append(values.astype(dtype))
    return made
