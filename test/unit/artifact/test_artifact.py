"""Round trips, and bytes that are not an artifact: always ArtifactError, whatever the bytes."""

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from artifact_samples import artifact, program, ref

from mlirfuse.artifact import Artifact, HostCall, Launch, Plan, Program, Recipe, container
from mlirfuse.errors import ArtifactError, MlirfuseError


@pytest.fixture(scope="module")
def data() -> bytes:
    return artifact().to_bytes()


def test_a_saved_artifact_comes_back(tmp_path: Path) -> None:
    before = artifact()
    before.save(tmp_path / "a.mlirfuse")
    after = Artifact.load(tmp_path / "a.mlirfuse")
    assert (after.model, after.target, after.precision) == (before.model, before.target, before.precision)
    assert (after.inputs, after.outputs, after.report) == (before.inputs, before.outputs, before.report)
    assert list(after.plans) == ["sm_80", "sm_90"]
    for key in before.weights:
        np.testing.assert_array_equal(after.weight(key), before.weight(key))
        assert after.weight(key).dtype == before.weight(key).dtype
    launch, host = after.plans["sm_90"].program.steps
    assert isinstance(launch, Launch) and launch.args[2].offset == 64
    assert isinstance(host, HostCall) and host.node == b"node" and host.opset == {"": 17} and host.inputs[1] is None
    assert bytes(after.plans["sm_90"].image("k0", "ptx").data).startswith(b".version")


def test_bytes_are_deterministic_and_stable_under_a_round_trip(data: bytes) -> None:
    assert artifact().to_bytes() == data
    assert Artifact.from_bytes(data).to_bytes() == data


def test_equal_code_is_stored_once(data: bytes) -> None:
    assert data.count(b"// not really") == 1


def test_the_weights_section_is_a_safetensors_file(data: bytes) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    _, sections = container.read(memoryview(data), "a")
    tensors = safetensors.load(bytes(sections["weights"]))
    np.testing.assert_array_equal(tensors["plain"], artifact().weights["plain"])


def test_weights_are_aligned_mapped_and_read_only(tmp_path: Path) -> None:
    artifact().save(tmp_path / "a.mlirfuse")
    weight = Artifact.load(tmp_path / "a.mlirfuse").weights["plain"]
    assert isinstance(weight, np.ndarray)
    assert weight.ctypes.data % 64 == 0 and not weight.flags.writeable and not weight.flags.owndata


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_flipping_any_byte_is_noticed(data: bytes, flip: int) -> None:
    for position in range(0, len(data), 1 if flip == 0x01 else 7):
        damaged = bytearray(data)
        damaged[position] ^= flip
        with pytest.raises(ArtifactError):
            Artifact.from_bytes(bytes(damaged))


def test_every_truncation_is_noticed(data: bytes) -> None:
    for length in range(0, len(data), 3):
        with pytest.raises(ArtifactError):
            Artifact.from_bytes(data[:length])


@pytest.mark.parametrize("tail", [b"\0", b"\0" * 64, b"more"])
def test_bytes_after_the_end_are_noticed(data: bytes, tail: bytes) -> None:
    with pytest.raises(ArtifactError, match="damaged"):
        Artifact.from_bytes(data + tail)


@pytest.mark.parametrize("foreign", [b"", b"\x08\x07onnx", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", bytes(4096), b"{}"])
def test_foreign_files_are_refused(foreign: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(foreign)
    with pytest.raises(ArtifactError, match="is not an mlirfuse artifact"):
        Artifact.load(tmp_path / "f")


def test_random_bytes_after_the_magic_are_refused() -> None:
    generator = np.random.default_rng(0)
    for size in (1, 50, 88, 200, 5000):
        with pytest.raises(ArtifactError):
            Artifact.from_bytes(container.MAGIC + generator.bytes(size))


def test_a_missing_file_and_a_folder_are_explained(tmp_path: Path) -> None:
    for path in (tmp_path / "none.mlirfuse", tmp_path):
        with pytest.raises(ArtifactError, match="cannot be read"):
            Artifact.load(path)


def test_another_format_version_says_so() -> None:
    body = b"{}"
    fixed = container._HEADER.pack(container.MAGIC, 99, 96, len(body), 98, hashlib.sha256(body).digest())
    with pytest.raises(ArtifactError, match="format version 99"):
        Artifact.from_bytes(fixed + hashlib.sha256(fixed).digest() + body)


def sealed(manifest: object) -> bytes:
    """A file with correct checksums around a manifest that the writer would never write."""
    body = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    fixed = container._HEADER.pack(container.MAGIC, 1, 96, len(body), 96 + len(body), hashlib.sha256(body).digest())
    return fixed + hashlib.sha256(fixed).digest() + body


@pytest.mark.parametrize(
    "manifest",
    [
        b"not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"sections": ' + b"9" * 5000 + b"}",
        [],
        {},
        {"sections": None},
        {"sections": [{"name": "weights", "bytes": 2**63, "digest": ""}]},
        {"sections": [{"name": "weights", "bytes": -1, "digest": ""}]},
        {"sections": []},
        {"sections": [], "weights": {}},
    ],
)
def test_well_sealed_nonsense_is_refused(manifest: object) -> None:
    with pytest.raises(ArtifactError):
        Artifact.from_bytes(sealed(manifest))


def corruptions(value: object) -> list[object]:
    """Other values that a field of a hand-made manifest might have."""
    return [v for v in (None, -1, 2**62, 1.5, "?", [], {}, [None], True) if v != value]


def test_any_field_of_the_manifest_may_be_wrong() -> None:
    """Whatever one field says instead, the answer is an artifact or ArtifactError."""
    original = artifact()
    manifest, sections = container.read(memoryview(original.to_bytes()), "a")
    refused = 0

    def visit(node: object) -> None:
        nonlocal refused
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in list(items):
            for wrong in corruptions(child):
                node[key] = wrong  # type: ignore[index]
                try:
                    changed = Artifact.from_bytes(
                        b"".join(container.serialize(manifest, {k: [v] for k, v in sections.items()}))
                    )
                    for weight in changed.weights:
                        changed.weight(weight)
                except ArtifactError:
                    refused += 1
            node[key] = child  # type: ignore[index]
            visit(child)

    del manifest["report"], manifest["plans"]["sm_80"]
    manifest["report"] = {}
    visit(manifest)
    assert refused > 200


def test_saving_replaces_atomically_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mlirfuse"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(MlirfuseError, match="No space left"):
        artifact().save(path)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.mlirfuse"]


def test_saving_into_a_missing_folder_is_explained(tmp_path: Path) -> None:
    with pytest.raises(MlirfuseError, match="could not be written"):
        artifact().save(tmp_path / "no" / "a.mlirfuse")


def test_large_sections_are_hashed_by_leaves(tmp_path: Path) -> None:
    big = np.random.default_rng(0).integers(0, 255, 20_000_001, dtype=np.uint8)
    sample = artifact()
    changed = Artifact("big", "cpu", "fp32", (), (), {}, {"w": big})
    changed.save(tmp_path / "b.mlirfuse")
    np.testing.assert_array_equal(Artifact.load(tmp_path / "b.mlirfuse").weight("w"), big)
    raw = bytearray((tmp_path / "b.mlirfuse").read_bytes())
    for position in (5_000_000, 19_999_000):
        raw[position] ^= 4
        with pytest.raises(ArtifactError, match="does not match its checksum"):
            Artifact.from_bytes(bytes(raw))
        raw[position] ^= 4
    assert sample.weights


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        ({"op": "launch", "kernel": "k", "grid": [1, 1], "block": [1, 1, 1], "args": []}, "three positive"),
        ({"op": "launch", "kernel": "k", "grid": [1, 1, 1], "block": [1, 1, 1], "args": [ref("arena", 256)]}, "arena"),
        ({"op": "parallel", "kernel": "k", "tiles": 1, "args": [ref("input", 20)]}, "inside input"),
        ({"op": "parallel", "kernel": "k", "tiles": 1, "args": [ref("output", 4, index=1)]}, "one of 1 outputs"),
        ({"op": "parallel", "kernel": "k", "tiles": 1, "args": [ref("moon", 4)]}, "one of arena"),
        ({"op": "host", "node": "%%%", "inputs": [], "outputs": []}, "base64"),
        ({"op": "copy", "source": ref("arena", 4), "destination": ref("output", 8)}, "equal sizes"),
        ({"op": "dance"}, "launch, parallel, host or copy"),
    ],
)
def test_a_program_is_checked(step: dict[str, object], complaint: str) -> None:
    with pytest.raises(ArtifactError, match=complaint):
        Program.from_json(program([step]))


def test_a_plan_without_a_kernel_is_refused() -> None:
    with pytest.raises(ArtifactError, match="no kernel k0"):
        Plan("cuda", Program.from_json(program()), {}, {})


def test_a_reference_beyond_its_weight_is_refused() -> None:
    good = artifact()
    short = {**good.weights, "packed": np.zeros(5, np.float32)}
    with pytest.raises(ArtifactError, match="inside weight 'packed'"):
        Artifact("m", "cuda", "fp32", good.inputs, good.outputs, good.plans, short)


def test_a_plan_of_another_signature_is_refused() -> None:
    good = artifact()
    with pytest.raises(ArtifactError, match="of the artifact's signature"):
        Artifact("m", "cuda", "fp32", good.outputs, good.inputs, good.plans, good.weights)


def test_a_missing_weight_is_refused() -> None:
    with pytest.raises(ArtifactError, match="lacks 1 weights"):
        Artifact("m", "cuda", "fp32", (), (), {}, {"w": Recipe("gone", (), (1,), "float32")})


def test_checking_a_file_does_not_fill_memory(tmp_path: Path) -> None:
    """Weights come into memory when they are read, not when their digest is checked."""
    size = 64 << 20
    path = tmp_path / "large.mlirfuse"
    Artifact("m", "cpu", "fp32", (), (), {}, {"w": np.ones(size // 4, np.float32)}).save(path)

    def mapped() -> int:
        status = Path("/proc/self/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("RssFile")).split()[1]) << 10

    before = mapped()
    artifact = Artifact.load(path)
    assert mapped() - before < size // 4
    assert artifact.weight("w").sum(dtype=np.float64) == size // 4
    assert mapped() - before > size // 2
