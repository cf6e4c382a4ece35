"""Arrays by name in one .npz file, whatever the names are."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["pack_arrays", "read_arrays"]


def pack_arrays(arrays: Mapping[str, Any]) -> bytes:
    """The bytes of a .npz file (numpy.savez takes no array of the name "file")."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    return buffer.getvalue()


def read_arrays(path: str) -> dict[str, Any]:
    """The arrays of a .npz file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
