"""The bytes of an artifact file: a header, a JSON manifest and sections, every byte accounted for.

    header    96 bytes  magic, version, header bytes, manifest bytes, file bytes, digests of manifest and header
    manifest            canonical JSON; its "sections" lists name, bytes and digest of each section, in order
    sections            each begins at the next multiple of 64; the bytes skipped are zero

The layout follows from the sizes alone, so there is no byte that neither a digest nor the rule of the
zeros covers. Checksums are integrity, not trust: anyone can write a file that passes them.
"""

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mlirfuse.artifact.schema import count, entries, field, mapping, text
from mlirfuse.device import usable_cores
from mlirfuse.errors import ArtifactError, MlirfuseError
from mlirfuse.files import replacing

__all__ = ["ALIGNMENT", "Section", "map_file", "read", "serialize", "write"]

MAGIC = b"\x89MLFUSE\n"  # as PNG's: a high bit and a newline, so that a text-mode copy is noticed
VERSION = 1
ALIGNMENT = 64
LEAF = 1 << 20
_HEADER = struct.Struct("<8sIIQQ32s")
_HEADER_BYTES = _HEADER.size + 32

Section = Sequence[bytes | memoryview]  # the bytes of one section, in parts

# --- writing --------------------------------------------------------------------------------------


def serialize(manifest: Mapping[str, Any], sections: Mapping[str, Section]) -> Iterator[bytes | memoryview]:
    """The parts of the file; the same input gives the same bytes."""
    table: list[dict[str, Any]] = [
        {"name": name, "bytes": sum(len(p) for p in parts), "digest": _digest_parts(parts)}
        for name, parts in sections.items()
    ]
    body = json.dumps(
        {**manifest, "sections": table}, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode()
    total = _HEADER_BYTES + len(body)
    for entry in table:
        total = _aligned(total) + entry["bytes"]
    fixed = _HEADER.pack(MAGIC, VERSION, _HEADER_BYTES, len(body), total, hashlib.sha256(body).digest())
    yield fixed + hashlib.sha256(fixed).digest()
    yield body
    position = _HEADER_BYTES + len(body)
    for entry, parts in zip(table, sections.values(), strict=True):
        yield bytes(_aligned(position) - position)
        yield from parts
        position = _aligned(position) + entry["bytes"]


def write(path: str | os.PathLike[str], parts: Iterable[bytes | memoryview]) -> None:
    """Write `parts` to `path` atomically: a reader sees the old file or the whole new one."""
    try:
        with replacing(path) as temporary, open(temporary, "xb") as file:
            file.writelines(parts)
    except OSError as error:
        raise MlirfuseError(
            f"The artifact could not be written to '{os.fspath(path)}': {error.strerror or error}. "
            f"Choose a path in an existing folder that this user may write to, with space for the weights."
        ) from error


def _aligned(position: int) -> int:
    return -(-position // ALIGNMENT) * ALIGNMENT


# --- reading --------------------------------------------------------------------------------------


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """The file's bytes, memory-mapped and read-only."""
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                return memoryview(b"")
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"The artifact '{os.fspath(path)}' cannot be read: {getattr(error, 'strerror', None) or error}. "
            f"Give the path of a file that `mlirfuse compile` or Executable.save wrote."
        ) from error


def read(data: memoryview, name: str) -> tuple[dict[str, Any], dict[str, memoryview]]:
    """The manifest and sections of a whole file, every byte verified; `name` is for messages."""
    body, end = _check_header(data, name)
    try:
        manifest = mapping(json.loads(body), "the manifest")
    except (ValueError, RecursionError) as error:
        raise _damaged(name, f"its manifest is not JSON ({type(error).__name__})") from error
    table = field(manifest, "sections", entries(mapping), "the manifest")
    sections: dict[str, memoryview] = {}
    position = end
    for index, entry in enumerate(table):
        where = f"sections[{index}]"
        label, size = field(entry, "name", text, where), field(entry, "bytes", count, where)
        start = _aligned(position)
        if start + size > len(data):
            raise _damaged(name, f"section '{label}' ends at byte {start + size} of {len(data)}")
        if any(data[position:start]):
            raise _damaged(name, f"the padding before section '{label}' is not zero")
        section = data[start : start + size]
        if _digest(section) != field(entry, "digest", text, where) or label in sections:
            raise _damaged(name, f"section '{label}' ({size} bytes) does not match its checksum")
        sections[label] = section
        position = start + size
    if position != len(data):
        raise _damaged(name, f"{len(data) - position} bytes follow its last section")
    del manifest["sections"]
    return manifest, sections


def _check_header(data: memoryview, name: str) -> tuple[bytes, int]:
    """Verify header and manifest digests; the manifest's bytes and where they end."""
    if bytes(data[: len(MAGIC)]) != MAGIC:
        what = "is empty" if len(data) == 0 else "does not begin like one"
        raise ArtifactError(
            f"'{name}' is not an mlirfuse artifact: it {what}. Expected a file that `mlirfuse compile` or "
            f"Executable.save wrote; an .onnx model must be compiled first."
        )
    if len(data) < _HEADER_BYTES:
        raise _damaged(name, f"it ends after {len(data)} bytes, inside its header")
    fixed = bytes(data[: _HEADER.size])
    if hashlib.sha256(fixed).digest() != bytes(data[_HEADER.size : _HEADER_BYTES]):
        raise _damaged(name, "its header does not match its checksum")
    _, version, header_bytes, manifest_bytes, file_bytes, digest = _HEADER.unpack(fixed)
    if version != VERSION or header_bytes != _HEADER_BYTES:
        raise ArtifactError(
            f"The artifact '{name}' has format version {version}, and this mlirfuse reads version {VERSION}. "
            f"Compile the model again, or install the mlirfuse that wrote it."
        )
    if file_bytes != len(data):
        raise _damaged(name, f"it should have {file_bytes} bytes and has {len(data)}")
    end = _HEADER_BYTES + manifest_bytes
    if end > len(data):
        raise _damaged(name, f"its manifest ends at byte {end} of {len(data)}")
    body = bytes(data[_HEADER_BYTES:end])
    if hashlib.sha256(body).digest() != digest:
        raise _damaged(name, "its manifest does not match its checksum")
    return body, end


def _damaged(name: str, how: str) -> ArtifactError:
    return ArtifactError(
        f"The artifact '{name}' is damaged: {how}. Every byte of an artifact is checked when it is loaded; "
        f"copy the file again, or compile the model again."
    )


# --- digests --------------------------------------------------------------------------------------
# A section's digest is the SHA-256 of its leaves' SHA-256, one leaf per MiB, so that cores can share the work.


def _digest(data: memoryview) -> str:
    leaves = [data[start : start + LEAF] for start in range(0, len(data), LEAF)]
    if len(leaves) < 16:
        return _root(_checked_leaf(leaf) for leaf in leaves)
    with ThreadPoolExecutor(min(8, usable_cores())) as pool:
        return _root(pool.map(_checked_leaf, leaves))


def _digest_parts(parts: Section) -> str:
    """`_digest` of the parts' concatenation, without making it."""
    leaves: list[bytes] = []
    current, room = hashlib.sha256(), LEAF
    for part in parts:
        view = memoryview(part)
        while len(view):
            current.update(view[:room])
            taken = min(room, len(view))
            view, room = view[taken:], room - taken
            if room == 0:
                leaves.append(current.digest())
                current, room = hashlib.sha256(), LEAF
    if room < LEAF:
        leaves.append(current.digest())
    return _root(leaves)


def _checked_leaf(data: memoryview) -> bytes:
    """The digest of a leaf; of a mapped file its pages are then let go, so that checking does not fill memory."""
    digest = hashlib.sha256(data).digest()
    if isinstance(data.obj, mmap.mmap):
        _let_go(data.obj, data)
    return digest


def _let_go(whole: mmap.mmap, part: memoryview) -> None:
    """Drop the pages inside `part` from this process's memory; they come back from the file when they are read."""
    if not hasattr(whole, "madvise"):
        return
    offset = _address(part) - _address(memoryview(whole))
    begin = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
    end = (offset + len(part)) // mmap.PAGESIZE * mmap.PAGESIZE
    if begin < end:
        whole.madvise(mmap.MADV_DONTNEED, begin, end - begin)


def _address(view: memoryview) -> int:
    return int(np.frombuffer(view, np.uint8).ctypes.data)


def _root(leaves: Iterable[bytes]) -> str:
    return hashlib.sha256(b"".join(leaves)).hexdigest()
