"""The `fusion` dialect: its operations and everything that is true of them.

`Fusion` is the dialect, `OPS` maps op names to classes. An op's semantics (shape inference, indexing,
mapping type, NumPy reference, FLOPs) are static functions of a frozen `Node`.
"""

from mlirfuse.dialect.cluster import SHARED_CLUSTER, PeerMemoryOp
from mlirfuse.dialect.contraction import ContractOp, ConvOp
from mlirfuse.dialect.core import (
    OPS,
    Fusion,
    FusionOp,
    MappingType,
    build,
    indexing_of,
    is_constant,
    node_of,
    onnx_nodes,
    semantics,
)
from mlirfuse.dialect.elementwise import BinaryOp, CastOp, SelectOp, UnaryOp
from mlirfuse.dialect.mixed import segment_sizes
from mlirfuse.dialect.movement import ConcatOp, ExpandOp, GatherOp, PadOp, ReshapeOp, SliceOp, TransposeOp
from mlirfuse.dialect.node import (
    Access,
    Indexing,
    Node,
    TensorType,
    attribute_value,
    from_attribute,
    to_attribute,
    type_from_mlir,
    type_to_mlir,
)
from mlirfuse.dialect.reduction import NormalizeOp, ReduceOp, SoftmaxOp, WindowOp
from mlirfuse.dialect.sampling import GridSampleOp, RoiAlignOp
from mlirfuse.dialect.scatter import ScatterOp
from mlirfuse.dialect.sorting import MergeOp, SortOp
from mlirfuse.dialect.structure import FallbackOp, GroupOp, HostCallOp, SplatOp, WeightOp, YieldOp
from mlirfuse.dialect.weights import WeightStore, active_store

__all__ = [
    "OPS",
    "SHARED_CLUSTER",
    "Access",
    "BinaryOp",
    "CastOp",
    "ConcatOp",
    "ContractOp",
    "ConvOp",
    "ExpandOp",
    "FallbackOp",
    "Fusion",
    "FusionOp",
    "GatherOp",
    "GridSampleOp",
    "GroupOp",
    "HostCallOp",
    "Indexing",
    "MappingType",
    "MergeOp",
    "Node",
    "NormalizeOp",
    "PadOp",
    "PeerMemoryOp",
    "ReduceOp",
    "ReshapeOp",
    "RoiAlignOp",
    "ScatterOp",
    "SelectOp",
    "SliceOp",
    "SoftmaxOp",
    "SortOp",
    "SplatOp",
    "TensorType",
    "TransposeOp",
    "UnaryOp",
    "WeightOp",
    "WeightStore",
    "WindowOp",
    "YieldOp",
    "active_store",
    "attribute_value",
    "build",
    "from_attribute",
    "indexing_of",
    "is_constant",
    "node_of",
    "onnx_nodes",
    "segment_sizes",
    "semantics",
    "to_attribute",
    "type_from_mlir",
    "type_to_mlir",
]
