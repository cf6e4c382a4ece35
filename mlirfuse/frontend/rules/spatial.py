"""Window arithmetic that convolution and pooling share: strides, dilations, and where the padding comes from."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode

__all__ = ["Windows", "windows_of"]


@dataclass(frozen=True)
class Windows:
    """Windows over spatial axes; `pads` are all the low ends, then all the high ends, `sizes` the places."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    sizes: tuple[int, ...]


def per_axis(node: NodeCall, name: str, rank: int, default: int) -> tuple[int, ...]:
    """An attribute with one entry for each spatial axis."""
    values = tuple(node.attr(name, (default,) * rank))
    if len(values) != rank or any(v < 1 for v in values):
        raise InvalidNode(f"has {name} {values}, but needs one positive number for each of its {rank} spatial axes")
    return values


def windows_of(node: NodeCall, spatial: Sequence[int], kernel: Sequence[int]) -> Windows:
    """The windows of a Conv or pooling node over an input of extent `spatial`."""
    rank = len(spatial)
    if len(kernel) != rank:
        raise InvalidNode(f"has a kernel of rank {len(kernel)} for an input with {rank} spatial axes")
    strides = per_axis(node, "strides", rank, 1)
    dilations = per_axis(node, "dilations", rank, 1)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    mode = node.attr("auto_pad", "NOTSET") or "NOTSET"
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        sizes = tuple(-(-d // s) for d, s in zip(spatial, strides, strict=True))
        total = [max(0, (o - 1) * s + r - d) for o, s, r, d in zip(sizes, strides, reach, spatial, strict=True)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = (*small, *large) if mode == "SAME_UPPER" else (*large, *small)
    elif mode in ("NOTSET", "VALID"):
        pads = tuple(node.attr("pads", (0,) * 2 * rank)) if mode == "NOTSET" else (0,) * 2 * rank
        if len(pads) != 2 * rank:
            raise InvalidNode(f"has {len(pads)} pads, but needs two for each of its {rank} spatial axes")
        ceil = bool(node.attr("ceil_mode", 0)) and mode == "NOTSET"
        sizes = tuple(places(spatial[i], reach[i], strides[i], pads[i], pads[rank + i], ceil=ceil) for i in range(rank))
    else:
        raise InvalidNode(f"has auto_pad '{mode}', which is none of NOTSET, SAME_UPPER, SAME_LOWER, VALID")
    if any(size < 0 for size in sizes):
        raise InvalidNode(f"has windows of extent {tuple(reach)}, larger than its padded input {tuple(spatial)}")
    return Windows(tuple(kernel), strides, dilations, tuple(pads), sizes)


def places(size: int, reach: int, stride: int, low: int, high: int, *, ceil: bool) -> int:
    """How many windows fit; with `ceil` the last may leave the padded input, if it starts before the high padding."""
    free = size + low + high - reach
    count = (-(-free // stride) if ceil else free // stride) + 1
    if ceil and (count - 1) * stride >= size + low:
        count -= 1
    return count
