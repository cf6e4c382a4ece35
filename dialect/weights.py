"""The weight store beside a module: constant bytes, addressed by their content.

`fusion.weight` ops hold keys; passes that fold or pack constants read and add arrays through the
active store. A key is a hash of type, shape and bytes, so equal weights are stored once and the
text of a module says exactly which weights it needs.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = ["WeightStore", "active_store"]


class WeightStore:
    """Arrays by content key."""

    def __init__(self) -> None:
        self._arrays: dict[str, Any] = {}

    def put(self, array: Any) -> str:
        """Store `array` (made contiguous) and return its key."""
        array = np.asarray(array, order="C")
        digest = hashlib.sha256(f"{array.dtype.name}{list(array.shape)}".encode())
        digest.update(array.reshape(-1).view(np.uint8) if array.size else b"")  # bfloat16 has no buffer of its own
        key = digest.hexdigest()[:32]
        self._arrays.setdefault(key, array)
        return key

    def get(self, key: str) -> Any | None:
        """The array of `key`, or None where the store lacks it (text that travels without weights)."""
        return self._arrays.get(key)

    def __contains__(self, key: str) -> bool:
        return key in self._arrays

    def __len__(self) -> int:
        return len(self._arrays)

    def save(self, path: str | Path) -> None:
        """Write every array to a safetensors file."""
        save_file({key: np.atleast_1d(a) if a.ndim == 0 else a for key, a in self._arrays.items()}, str(path))

    def load(self, path: str | Path) -> None:
        """Add the arrays of a safetensors file under the keys they were saved with."""
        self._arrays.update(load_file(str(path)))

    @contextlib.contextmanager
    def active(self) -> Iterator[WeightStore]:
        """Make this the store that passes see."""
        token = _active.set(self)
        try:
            yield self
        finally:
            _active.reset(token)


_active: contextvars.ContextVar[WeightStore | None] = contextvars.ContextVar("mlirfuse_weight_store", default=None)


def active_store() -> WeightStore:
    """The store of the compilation in progress; an empty one where there is none."""
    store = _active.get()
    if store is None:
        store = WeightStore()
        _active.set(store)
    return store
