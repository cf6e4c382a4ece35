"""Other runtimes that can be raced: how each loads an ONNX file and runs it once on fixed inputs."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mlirfuse.errors import MlirfuseError

__all__ = ["PEERS", "SELF", "Ready", "missing", "prepare"]

SELF = "mlirfuse"  # runs an artifact instead of an ONNX file


@dataclass(frozen=True)
class Ready:
    """A loaded network: `call` runs it once, and `outputs` are those of the last call."""

    call: Callable[[], Any]
    outputs: Callable[[], dict[str, Any]]
    version: str


@dataclass(frozen=True)
class Peer:
    """The package that has to be installed, and how to load a network with it."""

    package: str
    load: Callable[[str, Mapping[str, Any], int], Ready]


def missing(name: str) -> str | None:
    """Why `name` cannot be raced here, or None. MlirfuseError for a name that is not known."""
    if name not in PEERS:
        raise MlirfuseError(
            f"There is no peer '{name}' to race against; known are {', '.join(p for p in PEERS if p != SELF)}."
        )
    package = PEERS[name].package
    return None if importlib.util.find_spec(package) else f"the package {package} is not installed"


def prepare(name: str, model: str, inputs: Mapping[str, Any], threads: int) -> Ready:
    """Load `model` with a peer, for `threads` CPU threads."""
    return PEERS[name].load(model, inputs, threads)


def _mlirfuse(model: str, inputs: Mapping[str, Any], threads: int) -> Ready:
    import mlirfuse

    bound = mlirfuse.load(model, threads=threads).bind(dict(inputs))
    return Ready(bound, lambda: bound.outputs, mlirfuse.__version__)


def _onnxruntime(model: str, inputs: Mapping[str, Any], threads: int) -> Ready:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    fed = {value.name: inputs[value.name] for value in session.get_inputs()}
    last: list[Any] = []

    def call() -> None:
        last[:] = session.run(names, fed)

    return Ready(call, lambda: dict(zip(names, last, strict=True)), onnxruntime.__version__)


def _openvino(model: str, inputs: Mapping[str, Any], threads: int) -> Ready:
    import openvino

    hints = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(model, "CPU", hints)
    request = compiled.create_infer_request()
    for port in compiled.inputs:
        name = next(n for n in port.get_names() if n in inputs)
        request.set_tensor(port, openvino.Tensor(inputs[name], shared_memory=True))

    def outputs() -> dict[str, Any]:
        return {name: request.get_tensor(port).data.copy() for port in compiled.outputs for name in port.get_names()}

    return Ready(request.infer, outputs, openvino.__version__.split("-")[0])


def _torch(model: str, inputs: Mapping[str, Any], threads: int) -> Ready:
    return _torch_network(model, inputs, threads, compiled=False)


def _torch_compile(model: str, inputs: Mapping[str, Any], threads: int) -> Ready:
    return _torch_network(model, inputs, threads, compiled=True)


def _torch_network(model: str, inputs: Mapping[str, Any], threads: int, *, compiled: bool) -> Ready:
    import torch

    from mlirfuse.cli.torch_network import describe, network_of

    torch.set_num_threads(threads)
    graph, weights = describe(model)
    network = network_of(graph, weights).eval()
    given = [torch.from_numpy(inputs[name].copy()) for name in graph.inputs]
    run = torch.compile(network) if compiled else network
    last: list[Any] = []

    def call() -> None:
        with torch.inference_mode():
            last[:] = run(*given)

    return Ready(call, lambda: dict(zip(graph.outputs, (t.numpy() for t in last), strict=True)), torch.__version__)


PEERS: dict[str, Peer] = {
    SELF: Peer("mlirfuse", _mlirfuse),
    "onnxruntime": Peer("onnxruntime", _onnxruntime),
    "openvino": Peer("openvino", _openvino),
    "torch": Peer("torch", _torch),
    "torch-compile": Peer("torch", _torch_compile),
}
