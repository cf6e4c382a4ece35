"""One architecture's form of a compiled network: its program and the code of its kernels."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlirfuse.artifact.program import Program
from mlirfuse.artifact.schema import entries, field, malformed, mapping, text
from mlirfuse.errors import ArtifactError

__all__ = ["FORMATS", "Image", "Kernel", "Plan"]

FORMATS = ("ptx", "cubin", "object", "mlir", "spirv")


@dataclass(frozen=True)
class Image:
    """Code in one form: PTX or MLIR text, a cubin, a host object, SPIR-V."""

    format: str
    data: bytes | memoryview


@dataclass(frozen=True)
class Kernel:
    """Where a kernel is: its symbol, and the names of the images that hold it, the preferred one first."""

    symbol: str
    images: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """Program and code for one architecture.

    `kind` names the executor ("cpu", "cuda", "simulator", "vulkan"). `features` are CPU features the
    code needs (LLVM's names). `metadata` is JSON that the lowering tells its executor and nobody else reads.
    """

    kind: str
    program: Program
    kernels: Mapping[str, Kernel]
    images: Mapping[str, Image]
    features: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [name for name in self.program.kernels() if name not in self.kernels]
        lost = [name for kernel in self.kernels.values() for name in kernel.images if name not in self.images]
        if missing or lost:
            raise ArtifactError(
                f"The {self.kind} plan is incomplete: it has no {'kernel' if missing else 'image'} "
                f"{', '.join(sorted({*missing, *lost}))}, which its program needs. Compile the model again."
            )

    def image(self, kernel: str, *formats: str) -> Image:
        """The preferred image of `kernel` in one of `formats`; ArtifactError if there is none."""
        for name in self.kernels[kernel].images:
            if self.images[name].format in formats:
                return self.images[name]
        raise ArtifactError(f"The kernel '{kernel}' has no code as {' or '.join(formats)}. Compile the model again.")

    def to_json(self, sections: Mapping[str, str]) -> dict[str, Any]:
        """`sections` maps the name of an image to that of the section that holds it."""
        return {
            "kind": self.kind,
            "program": dict(self.program.json),
            "kernels": {n: {"symbol": k.symbol, "images": list(k.images)} for n, k in self.kernels.items()},
            "images": {n: {"format": i.format, "section": sections[n]} for n, i in self.images.items()},
            "features": list(self.features),
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_json(cls, data: Any, sections: Mapping[str, memoryview], where: str) -> "Plan":
        data = mapping(data, where)

        def image(value: Any, at: str) -> Image:
            value = mapping(value, at)
            form, section = field(value, "format", text, at), field(value, "section", text, at)
            if form not in FORMATS or section not in sections:
                raise malformed(at, f"code ({', '.join(FORMATS)}) in one of the sections", value)
            return Image(form, sections[section])

        def kernel(value: Any, at: str) -> Kernel:
            value = mapping(value, at)
            return Kernel(field(value, "symbol", text, at), field(value, "images", entries(text), at))

        kernels = field(data, "kernels", mapping, where)
        images = field(data, "images", mapping, where)
        return cls(
            field(data, "kind", text, where),
            Program.from_json(data.get("program"), f"{where}.program"),
            {name: kernel(value, f"{where}.kernels[{name!r}]") for name, value in kernels.items()},
            {name: image(value, f"{where}.images[{name!r}]") for name, value in images.items()},
            field(data, "features", entries(text), where, ()),
            field(data, "metadata", mapping, where, {}),
        )
