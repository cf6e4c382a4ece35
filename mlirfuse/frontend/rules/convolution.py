"""Conv and ConvTranspose of any rank."""

from collections.abc import Sequence

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, importer
from mlirfuse.frontend.rules.spatial import per_axis, windows_of
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []


def add_bias(b: OpBuilder, y: Tensor, bias: Tensor | None) -> Tensor:
    """y + bias, one number for each channel (axis 1)."""
    if bias is None:
        return y
    if bias.dims != (y.dims[1],):
        raise InvalidNode(f"has a bias {bias.type}, but needs one number for each of {y.dims[1]} output channels")
    return b.binary("add", y, b.reshape(bias, (1, y.dims[1], *(1,) * (y.rank - 2))))


def _operands(node: NodeCall) -> tuple[Tensor, Tensor]:
    """The input and the weight, of one rank with at least one spatial dimension."""
    x, weight = node.input(0), node.input(1)
    if x.rank < 3 or weight.rank != x.rank:
        raise InvalidNode(
            f"needs an input [N, C, spatial...] and a weight of the same rank, not {x.type} and {weight.type}"
        )
    return x, weight


@importer("Conv")
def conv(b: OpBuilder, node: NodeCall) -> Tensor:
    """Conv: padding resolved, the bias an addition of its own."""
    x, weight = _operands(node)
    kernel = tuple(node.attr("kernel_shape", weight.dims[2:]))
    if kernel != weight.dims[2:]:
        raise InvalidNode(f"has kernel_shape {kernel}, but its weight is {weight.type}")
    w = windows_of(node, x.dims[2:], kernel)
    y = b.op(
        "conv",
        [x, weight],
        strides=w.strides,
        pads=w.pads,
        dilations=w.dilations,
        input_dilation=(1,) * len(kernel),
        groups=int(node.attr("group", 1)),
    )
    return add_bias(b, y, node.optional(2))


@importer("ConvTranspose")
def conv_transpose(b: OpBuilder, node: NodeCall) -> Tensor:
    """ConvTranspose = Conv of the input with `strides` - 1 zeros between neighbours and the flipped weight."""
    x, weight = _operands(node)
    groups, rank = int(node.attr("group", 1)), x.rank - 2
    if weight.dims[0] != x.dims[1] or groups < 1 or weight.dims[0] % groups:
        raise InvalidNode(f"has a weight {weight.type} that does not fit its input {x.type} in {groups} groups")
    kernel = weight.dims[2:]
    strides, dilations = per_axis(node, "strides", rank, 1), per_axis(node, "dilations", rank, 1)
    extra = tuple(node.attr("output_padding", (0,) * rank))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    full = [(d - 1) * s + r for d, s, r in zip(x.dims[2:], strides, reach, strict=True)]
    low, high = _cropped(node, x.dims[2:], strides, full, extra)
    y = b.op(
        "conv",
        [x, transposed_weight(b, weight, groups)],
        strides=(1,) * rank,
        pads=(
            *(r - 1 - c for r, c in zip(reach, low, strict=True)),
            *(r - 1 - c + e for r, c, e in zip(reach, high, extra, strict=True)),
        ),
        dilations=dilations,
        input_dilation=strides,
        groups=groups,
    )
    return add_bias(b, y, node.optional(2))


def _cropped(
    node: NodeCall, spatial: Sequence[int], strides: Sequence[int], full: Sequence[int], extra: Sequence[int]
) -> tuple[list[int], list[int]]:
    """How much of the full result `pads`, `output_shape` or `auto_pad` cut from the low and high ends."""
    rank, mode = len(spatial), node.attr("auto_pad", "NOTSET") or "NOTSET"
    shape = node.attr("output_shape")
    if shape is None and mode in ("SAME_UPPER", "SAME_LOWER"):
        shape = tuple(d * s for d, s in zip(spatial, strides, strict=True))
    if shape is None:
        pads = tuple(node.attr("pads", (0,) * 2 * rank)) if mode == "NOTSET" else (0,) * 2 * rank
        if len(pads) != 2 * rank:
            raise InvalidNode(f"has {len(pads)} pads, but needs two for each of its {rank} spatial axes")
        return list(pads[:rank]), list(pads[rank:])
    shape = tuple(shape)[-rank:]
    total = [f + e - s for f, e, s in zip(full, extra, shape, strict=True)]
    half = [max(t, 0) // 2 for t in total]
    rest = [t - h for t, h in zip(total, half, strict=True)]  # negative: the result is larger than the full one
    return (half, rest) if mode == "SAME_UPPER" else (rest, half) if min(total) >= 0 else (half, rest)


def transposed_weight(b: OpBuilder, weight: Tensor, groups: int) -> Tensor:
    """[C, M / groups, *kernel] -> [M, C / groups, *kernel], flipped along every kernel axis."""
    channels, depth, *kernel = weight.dims
    rank = len(kernel)
    w = b.reshape(weight, (groups, channels // groups, depth, *kernel))
    w = b.transpose(w, (0, 2, 1, *range(3, 3 + rank)))
    w = b.reshape(w, (groups * depth, channels // groups, *kernel))
    starts = (0, 0, *(k - 1 for k in kernel))
    return b.op("slice", [w], starts=starts, sizes=w.dims, steps=(1, 1, *(-1 for _ in kernel)))
