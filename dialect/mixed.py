"""Variadic operands and results whose types differ.

IRDL binds a constraint to the first type that it meets, so that one variadic field holds values of one type only. An op
with the trait of this module declares many segments behind its one field; `segment_sizes` gives each run
of equal types a segment of its own, and the rest are empty. The field reads as all operands or results.
"""

import itertools
from collections.abc import Sequence
from typing import TypeVar

from mlirfuse.mlir import ext, ir

__all__ = ["OPERAND_SEGMENTS", "RESULT_SEGMENTS", "mixed_types", "segment_sizes"]

Op = TypeVar("Op", bound=ext.Operation)

OPERAND_SEGMENTS = 32
RESULT_SEGMENTS = 8


def segment_sizes(
    operand_types: Sequence[ir.Type], result_types: Sequence[ir.Type] | None = None
) -> dict[str, ir.Attribute]:
    """The segment attributes of an op with mixed variadic operands (and results, unless None).

    ValueError if the types change more often than there are segments: order the values by type, or split the op.
    """
    sizes = {"operandSegmentSizes": _runs(operand_types, OPERAND_SEGMENTS)}
    if result_types is not None:
        sizes["resultSegmentSizes"] = _runs(result_types, RESULT_SEGMENTS)
    return sizes


def _runs(types: Sequence[ir.Type], segments: int) -> ir.Attribute:
    runs = [len(list(run)) for _, run in itertools.groupby(types)]
    if len(runs) > segments:
        raise ValueError(
            f"the types of {len(types)} values change {len(runs)} times, but one field has room for {segments}"
        )
    return ir.DenseI32ArrayAttr.get(runs + [0] * (segments - len(runs)))


def mixed_types(cls: type[Op]) -> type[Op]:
    """Class decorator for an op whose only operand field, and only result field if any, are variadic of any type."""
    operands, _, results, _ = ext.partition_fields(cls._fields)
    for field in operands:
        setattr(cls, field.name, property(lambda self: list(self.operation.operands)))
    for field in results:
        if field.variadicity == ext.Variadicity.variadic:
            setattr(cls, field.name, property(lambda self: list(self.operation.results)))
    cls._emit_operation = classmethod(_emit_operation)
    return cls


def _emit_operation(cls: type[ext.Operation]) -> None:
    """The IRDL definition of a mixed op: every variadic field in segments, each with its own constraint."""
    constraints = ext.ConstraintLoweringContext()
    operands, attrs, results, regions = ext.partition_fields(cls._fields)
    definition = ext.irdl.operation_(cls._op_name)
    with ir.InsertionPoint(definition.body):
        for emit, fields, segments in (
            (ext.irdl.operands_, operands, OPERAND_SEGMENTS),
            (ext.irdl.results_, results, RESULT_SEGMENTS),
        ):
            if not fields:
                continue
            [field] = fields
            mixed = field.variadicity == ext.Variadicity.variadic
            names = [f"{field.name.strip('_')}_{i}" for i in range(segments)] if mixed else [field.name]
            emit([constraints.lower(field.constraint) for _ in names], names, [field.variadicity] * len(names))
        if attrs:
            ext.irdl.attributes_([constraints.lower(a.constraint) for a in attrs], [a.name for a in attrs])
        if regions:
            ext.irdl.regions_([ext.irdl.region([]) for _ in regions], [r.name for r in regions])
