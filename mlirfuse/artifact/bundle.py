"""`Artifact`: a compiled network in memory, and its file."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import mlirfuse
from mlirfuse.artifact import container, tensors
from mlirfuse.artifact.dtypes import element_bytes
from mlirfuse.artifact.explanation import read_explanation
from mlirfuse.artifact.plan import Plan
from mlirfuse.artifact.program import TensorSpec, refs
from mlirfuse.artifact.recipes import Recipe, replay
from mlirfuse.artifact.schema import entries, field, malformed, mapping, text
from mlirfuse.errors import ArtifactError

__all__ = ["Artifact", "Weight"]

Array = np.ndarray[Any, Any]
Weight = Array | Recipe
WEIGHTS = "weights"
EXPLANATION = "explanation"


@dataclass(frozen=True, eq=False)
class Artifact:
    """A compiled network: signature, one plan per architecture, weights, and what was found out on the way.

    `plans` is keyed by architecture: "sm_90" runs on compute capability 9.0 and later, "sm_90a" on 9.0
    exactly, a CPU plan's key is the machine ("x86_64"), the simulator's the chip it simulates. `weights` maps
    a key to an array or a recipe. `report` is the report of `mlirfuse report` (its `compile_seconds` stay out of the
    file: equal compilations give equal bytes), `options` those it was compiled with. `explanation` is what `mlirfuse
    explain` tells, packed in a section of its own, None where the artifact tells nothing; `explained` unpacks it.
    """

    model: str
    target: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    plans: Mapping[str, Plan]
    weights: Mapping[str, Weight] = dataclasses.field(default_factory=dict)
    report: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    explanation: bytes | memoryview | None = None
    version: str = mlirfuse.__version__

    def __post_init__(self) -> None:
        wanted = {key for plan in self.plans.values() for key in plan.program.weight_keys()}
        wanted |= {key for weight in self.weights.values() if isinstance(weight, Recipe) for key in weight.references()}
        missing = sorted(wanted - set(self.weights))
        if missing:
            raise ArtifactError(
                f"The artifact of '{self.model}' lacks {len(missing)} weights that its plans refer to, the first "
                f"being '{missing[0]}'. Compile the model again."
            )
        for architecture, plan in self.plans.items():
            if (plan.program.inputs, plan.program.outputs) != (self.inputs, self.outputs):
                raise malformed(f"plans[{architecture!r}].program", "of the artifact's signature", plan.program.inputs)
            self._check_sizes(architecture, plan)

    def _check_sizes(self, architecture: str, plan: Plan) -> None:
        """Every reference to a weight lies inside it: kernels read without asking."""
        for ref in (ref for step in plan.program.steps for ref in refs(step) if ref.space == "weight"):
            weight = self.weights[ref.key]
            size = math.prod(weight.shape) * (
                element_bytes(weight.dtype) if isinstance(weight, Recipe) else weight.dtype.itemsize
            )
            if ref.offset + ref.bytes > size:
                raise malformed(f"plans[{architecture!r}]", f"inside weight '{ref.key}' of {size} bytes", ref.bytes)

    def weight(self, key: str) -> Array:
        """The bytes of a weight, its recipe replayed if it has one; the array is not to be written to."""
        return self._weight(key, (), {})

    def _weight(self, key: str, path: tuple[str, ...], made: dict[str, Array]) -> Array:
        if key in path:
            raise ArtifactError(f"The recipe of weight '{key}' refers to itself by way of {' -> '.join(path)}.")
        if len(path) > 64:
            raise ArtifactError(f"The recipe of weight '{path[0]}' refers to more than 64 others in a row.")
        weight = self.weights[key]
        if not isinstance(weight, Recipe):
            return weight
        if key not in made:
            made[key] = replay(weight, lambda other: self._weight(other, (*path, key), made), key)
        return made[key]

    def explained(self) -> dict[str, Any] | None:
        """Why the network is fused as it is, as docs/explain-schema.md documents it; None if that was not kept."""
        return None if self.explanation is None else read_explanation(self.explanation)

    # --- file -------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the artifact to one file, atomically; the same artifact gives the same bytes."""
        container.write(path, self._parts())

    def to_bytes(self) -> bytes:
        """The bytes that `save` writes."""
        return b"".join(self._parts())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Artifact":
        """Read a file, every byte verified; weights stay memory-mapped. ArtifactError if anything is wrong."""
        return cls._read(container.map_file(path), os.fspath(path))

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "<bytes>") -> "Artifact":
        """As `load`, from memory."""
        return cls._read(memoryview(data), name)

    def _parts(self) -> Iterator[bytes | memoryview]:
        arrays = {key: weight for key, weight in self.weights.items() if not isinstance(weight, Recipe)}
        table, blob = tensors.pack(arrays)
        recipes = {key: weight.to_json() for key, weight in self.weights.items() if isinstance(weight, Recipe)}
        sections: dict[str, container.Section] = {}
        plans = {}
        for architecture in sorted(self.plans):
            plan = self.plans[architecture]
            homes = {}
            for name in sorted(plan.images):  # equal code is stored once
                data = plan.images[name].data
                homes[name] = f"code.{hashlib.sha256(data).hexdigest()}"
                sections[homes[name]] = [data]
            plans[architecture] = plan.to_json(homes)
        sections[WEIGHTS] = blob
        if self.explanation is not None:
            sections[EXPLANATION] = [self.explanation]
        manifest = {
            "mlirfuse": self.version,
            "model": self.model,
            "target": self.target,
            "precision": self.precision,
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "plans": plans,
            "weights": {**table, **recipes},
            "report": {key: value for key, value in self.report.items() if key != "compile_seconds"},
            "options": self.options,
        }
        return container.serialize(manifest, sections)

    @classmethod
    def _read(cls, data: memoryview, name: str) -> "Artifact":
        manifest, sections = container.read(data, name)
        where = "the manifest"
        table = field(manifest, "weights", mapping, where)
        if WEIGHTS not in sections:
            raise malformed(where, f"accompanied by a section '{WEIGHTS}'", sorted(sections))
        plain = {key: entry for key, entry in table.items() if not (isinstance(entry, dict) and "recipe" in entry)}
        weights: dict[str, Weight] = dict(tensors.unpack(plain, sections[WEIGHTS]))
        weights |= {key: Recipe.from_json(table[key], f"weights[{key!r}]") for key in table if key not in plain}
        plans = field(manifest, "plans", mapping, where)
        return cls(
            model=field(manifest, "model", text, where),
            target=field(manifest, "target", text, where),
            precision=field(manifest, "precision", text, where),
            inputs=field(manifest, "inputs", entries(TensorSpec.from_json), where),
            outputs=field(manifest, "outputs", entries(TensorSpec.from_json), where),
            plans={arch: Plan.from_json(plan, sections, f"plans[{arch!r}]") for arch, plan in plans.items()},
            weights=weights,
            report=field(manifest, "report", mapping, where),
            options=field(manifest, "options", mapping, where),
            explanation=sections.get(EXPLANATION),
            version=field(manifest, "mlirfuse", text, where),
        )

    def manifest(self) -> dict[str, Any]:
        """The JSON manifest, section table included: what `save` would write."""
        parts = self._parts()
        next(parts)
        return json.loads(bytes(next(parts)))
