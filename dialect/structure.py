"""Sources, groups and the bridge to operators without a lowering."""

from collections.abc import Sequence
from typing import Any

from mlirfuse.dialect.core import Fusion, FusionOp, MappingType
from mlirfuse.dialect.mixed import mixed_types
from mlirfuse.mlir import ext, ir, safe_verifier

__all__ = ["FallbackOp", "GroupOp", "HostCallOp", "SplatOp", "WeightOp", "YieldOp"]


class WeightOp(FusionOp, name="weight"):
    """A constant tensor whose bytes lie in the weight store under `key`, the hash of its content.

    In the kernels stage the result is the flat memref that kernels read.
    """

    key: ir.StringAttr
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_ONE
    structural = True

    @staticmethod
    def complaint_of_op(op: Any) -> str | None:
        return None if op.attributes["key"].value else "needs the key of its bytes in the weight store"


class SplatOp(FusionOp, name="splat"):
    """One number, `value`, in every element: an immediate of the kernels that use it."""

    value: Any
    result: ext.Result[Any]
    mapping_type = MappingType.ONE_TO_ONE
    structural = True

    @staticmethod
    def complaint_of_op(op: Any) -> str | None:
        return None


@mixed_types
class FallbackOp(FusionOp, name="fallback"):
    """An ONNX node that has no lowering here and runs on the host (`node`: its bytes in base64; `opset`).

    The operands are the node's non-empty inputs, in order; `operand_slots` says which inputs they are. The only op
    whose tensors may have dimensions that are known only at run time.
    """

    xs: Sequence[ext.Operand[Any]]
    node: ir.StringAttr
    opset: ir.IntegerAttr
    results_: Sequence[ext.Result[Any]]
    mapping_type = MappingType.MANY_TO_MANY
    structural = True

    @staticmethod
    def complaint_of_op(op: Any) -> str | None:
        return None if op.attributes["node"].value else "needs the ONNX node that it stands for"


@mixed_types
class HostCallOp(ext.Operation, dialect=Fusion, name="host_call"):
    """A fall-back node in the kernels stage: buffers in, buffers out (the last `outputs` operands)."""

    buffers: Sequence[ext.Operand[Any]]
    node: ir.StringAttr
    opset: ir.IntegerAttr
    outputs: ir.IntegerAttr


@mixed_types
class YieldOp(ext.Operation, dialect=Fusion, name="yield", traits=[ir.IsTerminatorTrait]):
    """The values that a group gives to its surroundings."""

    xs: Sequence[ext.Operand[Any]]


@mixed_types
class GroupOp(ext.Operation, dialect=Fusion, name="group", traits=[ext.Pure, ir.IsIsolatedFromAboveTrait]):
    """Operations that become one kernel. The body sees only its arguments and yields the results.

    `mapping` is the combined mapping type of the members (DNNFusion, table 3); `mode` says how they share data:
    single, straight, merge, split or mixed (Cross-Layer Data Reuse).
    """

    ins: Sequence[ext.Operand[Any]]
    outs: Sequence[ext.Result[Any]]
    body: ext.Region

    @safe_verifier
    def verify_region_invariants(self: Any) -> str | None:
        operation = self.operation
        blocks = list(operation.regions[0].blocks)
        if len(blocks) != 1:
            return f"needs one block, not {len(blocks)}"
        arguments, operands = list(blocks[0].arguments), list(operation.operands)
        if [a.type for a in arguments] != [v.type for v in operands]:
            return f"has {len(arguments)} block arguments that do not match its {len(operands)} operands"
        last = list(blocks[0].operations)[-1].operation
        if last.name != "fusion.yield":
            return f"must end in fusion.yield, not {last.name}"
        if [v.type for v in last.operands] != [r.type for r in operation.results]:
            return "yields values that do not match its results"
        return None
