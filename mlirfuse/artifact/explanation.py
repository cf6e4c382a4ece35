"""The section of an artifact that says why it is fused as it is: JSON, compressed, since nothing needs it to run."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

from mlirfuse.artifact.schema import malformed, mapping

__all__ = ["explanation_bytes", "read_explanation"]

LIMIT = 1 << 28  # bytes that a section may unpack to: a network of a million operators has fewer


def explanation_bytes(explanation: Mapping[str, Any]) -> bytes:
    """The bytes of the section; the same explanation gives the same bytes."""
    text = json.dumps(explanation, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return zlib.compress(text.encode(), 6)


def read_explanation(section: bytes | memoryview) -> dict[str, Any]:
    """The inverse of `explanation_bytes`; ArtifactError if it is something else."""
    where = "the section 'explanation'"
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(bytes(section), LIMIT)
        if not unpacker.eof or unpacker.unused_data:
            raise malformed(where, f"at most {LIMIT} bytes of JSON, compressed with zlib", len(section))
        return mapping(json.loads(text), where)
    except (zlib.error, ValueError, RecursionError) as error:
        raise malformed(where, "JSON, compressed with zlib", str(error)) from error
