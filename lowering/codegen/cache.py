"""A content-addressed cache of compiled kernels on disk.

An entry is named by the hash of everything its content depends on; the tools' versions and the text
of the compiler's own back ends are part of that. Entries are written whole or not at all, carry a
checksum, and are ignored when damaged: the cache can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from mlirfuse.files import replacing

__all__ = ["KernelCache", "cache_key"]

_DIGEST_BYTES = 32


def cache_key(*parts: str) -> str:
    """Hex digest of `parts`, the versions of MLIR and LLVM, and the sources of the back ends."""
    digest = hashlib.sha256(_tools().encode())
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


@functools.cache
def _tools() -> str:
    sources = hashlib.sha256()
    lowering = Path(__file__).resolve().parent.parent
    for folder in ("codegen", "nvvm", "spirv", "host"):
        for path in sorted((lowering / folder).glob("*.py")):
            sources.update(path.read_bytes())
    return f"torch-mlir {version('torch-mlir')}, llvmlite {version('llvmlite')}, {sources.hexdigest()}"


@dataclass(frozen=True)
class KernelCache:
    """`directory` need not exist; a directory that cannot be written only makes compiling slower."""

    directory: Path

    def _path(self, key: str) -> Path:
        return self.directory / key[:2] / key[2:]

    def load(self, key: str) -> bytes | None:
        try:
            data = self._path(key).read_bytes()
        except OSError:
            return None
        digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        return content if hashlib.sha256(content).digest() == digest else None

    def store(self, key: str, content: bytes) -> None:
        path = self._path(key)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_bytes(hashlib.sha256(content).digest() + content)
