"""The backend test cases that the installed onnx package brings, and which of them a compiler of tensors can run.

A case is a model, inputs with expected outputs, and tolerances. `exclusion` names why a case is outside what
compiled networks can mean; everything else has to give the expected outputs.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from mlirfuse.dialect.node import REPRESENTABLE

__all__ = ["DIFFERENCES", "KINDS", "PARAMETERS", "Case", "exclusion", "frozen", "load_cases", "rounding", "sample"]

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")

RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
TRAINING_DOMAIN = "ai.onnx.preview.training"
IMAGES = frozenset(("ImageDecoder",))

# Cases whose tolerances expect more digits than their arithmetic has, by the beginning of their names: how large an
# error may be beside the largest expected element.
ROUNDING: dict[str, tuple[float, str]] = {
    "test_attention_4d_causal_fp16": (1.1e-3, "one and two units in the last place of float16"),
    "test_dft": (1e-6, "zeros that are sums of large numbers, from ONNX Runtime's single precision"),
    "test_stft": (1e-6, "zeros that are sums of large numbers, from ONNX Runtime's single precision"),
}

# Cases where ONNX Runtime, which runs the node on the host, reads the standard in another way than the case does.
DIFFERENCES: dict[str, str] = {
    "test_maxunpool_export_with_output_shape": "ONNX Runtime takes the indices as places in the larger output",
    "test_resize_downsample_scales_cubic_align_corners": "ONNX Runtime aligns with the rounded size of the output",
    "test_resize_downsample_scales_linear_align_corners": "ONNX Runtime aligns with the rounded size of the output",
}

# Inputs that models in the wild give as constants (shapes, axes, bounds), by operator and position: a compiler needs
# their values. Cases that give them at run time are compiled a second time with them as initializers.
PARAMETERS: dict[str, tuple[int, ...]] = {
    "AffineGrid": (1,),
    "BlackmanWindow": (0,),
    "CenterCropPad": (1,),
    "Clip": (1, 2),
    "Col2Im": (1, 2),
    "ConstantOfShape": (0,),
    "CumSum": (1,),
    "DFT": (1, 2),
    "Dropout": (1, 2),
    "Expand": (1,),
    "HammingWindow": (0,),
    "HannWindow": (0,),
    "MaxUnpool": (2,),
    "MelWeightMatrix": (0, 1, 2, 3, 4),
    "OneHot": (1, 2),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "STFT": (1, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Tile": (1,),
    "TopK": (1,),
    "Trilu": (1,),
    "Unsqueeze": (1,),
    "Upsample": (1,),
    **{
        f"Reduce{kind}": (1,)
        for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    },
}


@dataclass(frozen=True)
class Case:
    """One case; `kind` is the category of the onnx package that it comes from."""

    name: str
    kind: str
    source: onnx.ModelProto | Path
    data_sets: Any
    rtol: float
    atol: float

    @cached_property
    def model(self) -> onnx.ModelProto:
        return onnx.load(self.source) if isinstance(self.source, Path) else self.source

    @property
    def operator(self) -> str:
        """The first operator of the model: what a node case is about (expanded cases: the function's first node)."""
        return self.model.graph.node[0].op_type if self.model.graph.node else "none"

    def data(self) -> Iterator[tuple[list[Any], list[Any]]]:
        """Inputs and expected outputs, as arrays, of every data set."""
        if self.data_sets is not None:
            for inputs, outputs in self.data_sets:
                yield [_array(v) for v in inputs], [_array(v) for v in outputs]
            return
        assert isinstance(self.source, Path)
        for folder in sorted(self.source.parent.glob("test_data_set_*")):
            yield _read(folder, "input"), _read(folder, "output")


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _read(folder: Path, stem: str) -> list[Any]:
    files = sorted(folder.glob(f"{stem}_*.pb"), key=lambda f: int(f.stem.rsplit("_", 1)[1]))
    return [numpy_helper.to_array(onnx.TensorProto.FromString(f.read_bytes())) for f in files]


def load_cases(kinds: Sequence[str] = KINDS) -> list[Case]:
    """Every case, by category and name. Takes some seconds: node cases are computed when they are loaded."""
    from onnx.backend.test.loader import load_model_tests

    found = []
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for kind in kinds:
            for t in sorted(load_model_tests(kind=kind), key=lambda t: t.name):
                source = t.model if t.model is not None else Path(t.model_dir, "model.onnx")
                found.append(Case(t.name, kind, source, t.data_sets, t.rtol, t.atol))
    return found


def exclusion(case: Case) -> str | None:
    """Why compiled networks cannot run this case, or None."""
    graph = case.model.graph
    for value in (*graph.input, *graph.output):
        form = value.type.WhichOneof("value")
        if form != "tensor_type":
            return f"{(form or 'untyped').removesuffix('_type')} as input or output"
        name = onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
        if name == "string":
            return "strings as input or output"
        if {"float": "float32", "double": "float64"}.get(name, name) not in REPRESENTABLE:
            return "8-bit floats, and integers and floats below 8 bits, as input or output"
    for node in graph.node:
        if node.op_type in RANDOM:
            return "random numbers"
        if node.domain == TRAINING_DOMAIN:
            return "training"
        if node.op_type in IMAGES:
            return "image files"
    if any(n.op_type == "Dropout" for n in graph.node) and _trains(case):
        return "training"
    return None


def rounding(case: Case, expected: Sequence[Any]) -> float:
    """The absolute error that this case's outputs may have."""
    limits = [limit for beginning, (limit, _) in ROUNDING.items() if case.name.startswith(beginning)]
    largest = max((float(np.abs(e).max()) for e in expected if np.size(e) and e.dtype.kind == "f"), default=0.0)
    return max([case.atol, *(limit * largest for limit in limits)])


def _trains(case: Case) -> bool:
    """Whether a Dropout gets training_mode = True."""
    for node in case.model.graph.node:
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            names = [v.name for v in case.model.graph.input]
            for inputs, _ in case.data():
                if node.input[2] in names:
                    return bool(inputs[names.index(node.input[2])])
            return True
    return False


def frozen(case: Case) -> Iterator[tuple[onnx.ModelProto, list[Any], list[Any]]]:
    """The case with its parameters as initializers, for every data set: model, remaining inputs, expected outputs."""
    graph = case.model.graph
    parameters = {node.input[i] for node in graph.node for i in PARAMETERS.get(node.op_type, ()) if i < len(node.input)}
    names = [v.name for v in graph.input]
    fixed = [name for name in names if name in parameters]
    if not fixed:
        return
    for inputs, outputs in case.data():
        given = dict(zip(names, inputs, strict=False))
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        kept = [v for v in model.graph.input if v.name not in parameters]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(given[name]), name) for name in fixed if name in given
        )
        yield model, [given[v.name] for v in kept], outputs


def sample(cases: Sequence[Case], count: int) -> list[Case]:
    """`count` cases that spread over operators, the same ones every time."""

    def shuffled(text: str) -> bytes:
        return hashlib.sha256(text.encode()).digest()

    groups: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda c: shuffled(c.name)):
        groups.setdefault(case.operator if case.kind == "node" else case.kind, []).append(case)
    chosen: list[Case] = []
    while len(chosen) < count and groups:
        for name in sorted(groups, key=shuffled):
            chosen.append(groups[name].pop(0))
            if not groups[name]:
                del groups[name]
    return chosen[:count]
