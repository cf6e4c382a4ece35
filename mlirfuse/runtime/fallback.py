"""One ONNX node on NumPy values: how nodes without a lowering run.

ONNX Runtime runs it where that is installed and has the kernel, else the onnx package's reference
evaluator; where that is known to lack an operator or to get it wrong, `legacy_ops` has it instead.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlirfuse.errors import InvalidModel, MlirfuseError
from mlirfuse.runtime.legacy_ops import legacy_op
from mlirfuse.subgraphs import captured_names

__all__ = ["FallbackNode"]

Evaluator = Callable[[dict[str, Any]], list[Any]]


class FallbackNode:
    """A node ready to run. Inputs are in the order of the node's own, then of the outer values its subgraphs use."""

    def __init__(self, node: bytes, opset: Mapping[str, int], threads: int = 1) -> None:
        import onnx

        try:
            self.node = onnx.NodeProto.FromString(node)
        except Exception as error:  # protobuf's own DecodeError, whose home differs between versions
            raise InvalidModel(f"A host node is not a serialized ONNX NodeProto: {error}.") from error
        self.opset = dict(opset) or {"": onnx.defs.onnx_opset_version()}
        self.opset.setdefault(self.node.domain, 1)
        self.threads = threads
        self.inputs = [*self.node.input, *(n for n in captured_names(self.node) if n not in self.node.input)]
        self.outputs = [name for name in self.node.output if name]
        self._evaluators: dict[tuple[Any, ...], Evaluator] = {}

    def run(self, values: Sequence[Any]) -> list[Any]:
        """The node's outputs, None where it leaves one out; `values` holds None for each optional input left out."""
        given = self._by_name(values)
        signature = tuple((name, _kind(value)) for name, value in given.items())
        evaluator = self._evaluators.get(signature)
        try:
            made = None if evaluator is None else evaluator(given)
        except Exception:  # these values are beyond it; another may know them, or all are asked why not
            made = None
        if made is None:
            self._evaluators[signature], made = self._first(given)
        named = dict(zip(self.outputs, made, strict=True))
        return [named.get(name) for name in self.node.output]

    def _by_name(self, values: Sequence[Any]) -> dict[str, Any]:
        present = [name for name in self.inputs if name]
        names = self.inputs if len(values) == len(self.inputs) else present
        if len(values) != len(names):
            raise MlirfuseError(
                f"The host node {self._title()} takes {len(self.inputs)} values ({', '.join(self.inputs)}), "
                f"and its step gives {len(values)}; compile the model again."
            )
        given = {name: value for name, value in zip(names, values, strict=True) if name and value is not None}
        return {name: np.asarray(value) if isinstance(value, np.generic) else value for name, value in given.items()}

    def _first(self, given: dict[str, Any]) -> tuple[Evaluator, list[Any]]:
        """The first evaluator that can run the node on such values, and its outputs."""
        refusals = []
        for make in (self._onnxruntime, self._legacy, self._reference):
            try:
                evaluator = make(given)
                if evaluator is not None:
                    return evaluator, evaluator(given)
            except Exception as error:  # each has exceptions of its own; the next one gets its chance
                refusals.append(f"{make.__name__.strip('_')}: {type(error).__name__}: {str(error).strip()[:300]}")
        raise MlirfuseError(
            f"The host node {self._title()} of opset {self.opset.get(self.node.domain)} could not run. "
            f"{' | '.join(refusals) or 'No evaluator knows it.'}"
        )

    def _title(self) -> str:
        return f"'{self.node.name or (self.outputs or ['?'])[0]}' ({self.node.op_type})"

    # --- evaluators -------------------------------------------------------------------------------

    def _legacy(self, given: dict[str, Any]) -> Evaluator | None:
        function = legacy_op(self.node, self.opset.get("", 0))
        if function is None:
            return None
        names = list(self.node.input)
        return lambda values: function(*(values.get(name) for name in names))

    def _onnxruntime(self, given: dict[str, Any]) -> Evaluator | None:
        if importlib.util.find_spec("onnxruntime") is None:
            return None
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 4
        # Spinning workers would take the cores from the kernels that run next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = self._model(given).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return lambda values: session.run(self.outputs, values)

    def _reference(self, given: dict[str, Any]) -> Evaluator | None:
        from onnx.reference import ReferenceEvaluator

        evaluator = ReferenceEvaluator(self._model(given))
        return lambda values: list(evaluator.run(None, values))

    def _model(self, given: dict[str, Any]) -> Any:
        import onnx

        graph = onnx.helper.make_graph(
            [self.node],
            "fallback",
            [_value_info(name, value) for name, value in given.items()],
            [onnx.ValueInfoProto(name=name) for name in self.outputs],
        )
        opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in self.opset.items()]
        ir_version = onnx.helper.find_min_ir_version_for(opsets, ignore_unknown=True)
        return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=max(4, ir_version))


def _kind(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.dtype, value.ndim
    return ("list", *{_kind(item) for item in value}) if isinstance(value, list) else type(value)


def _value_info(name: str, value: Any) -> Any:
    """The type of a value, its rank but not its sizes."""
    from onnx import helper

    if isinstance(value, list):
        elements = {item.dtype for item in value if isinstance(item, np.ndarray)} or {np.dtype(np.float32)}
        return helper.make_tensor_sequence_value_info(name, helper.np_dtype_to_tensor_dtype(elements.pop()), None)
    array = np.asarray(value)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), [None] * array.ndim)
