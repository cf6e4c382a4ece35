"""Max, average and Lp pooling, sliding and global, of any rank; LRN's window over channels lies in normalization."""

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, NoRule, importer
from mlirfuse.frontend.rules.spatial import windows_of
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []


def pool(b: OpBuilder, node: NodeCall, x: Tensor, kind: str, *, count_include_pad: bool = False) -> Tensor:
    """A window op over the spatial axes."""
    if x.rank < 3:
        raise InvalidNode(f"needs an input [N, C, spatial...], not {x.type}")
    w = windows_of(node, x.dims[2:], tuple(node.attr("kernel_shape", ())))
    return b.op(
        "window",
        [x],
        kind=kind,
        axes=tuple(range(2, x.rank)),
        kernel=w.kernel,
        strides=w.strides,
        dilations=w.dilations,
        pads=w.pads,
        sizes=w.sizes,
        count_include_pad=count_include_pad,
    )


@importer("MaxPool")
def max_pool(b: OpBuilder, node: NodeCall) -> Tensor:
    """MaxPool without its indices."""
    if len(node.used) > 1 and node.used[1]:
        raise NoRule("its second output, the indices of the maxima, has no rule")
    return pool(b, node, node.input(), "max")


@importer("AveragePool")
def average_pool(b: OpBuilder, node: NodeCall) -> Tensor:
    """AveragePool; the divisor is a matter of the window op."""
    return pool(b, node, node.input(), "mean", count_include_pad=bool(node.attr("count_include_pad", 0)))


def power(b: OpBuilder, x: Tensor, p: float) -> Tensor:
    """x ** p for a number p, with the cheap cases by their names."""
    named = {1.0: None, 2.0: "square", 0.5: "sqrt", -1.0: "reciprocal"}
    if p in named and (x.floating or p in (1.0, 2.0)):
        kind = named[p]
        return x if kind is None else b.unary(kind, x)
    return b.binary("pow", x, p)


@importer("LpPool")
def lp_pool(b: OpBuilder, node: NodeCall) -> Tensor:
    """(sum |x| ** p) ** (1 / p) over each window."""
    p = float(node.attr("p", 2))
    total = pool(b, node, power(b, b.unary("abs", node.input()), p), "sum")
    return power(b, total, 1 / p)


@importer("GlobalMaxPool", "GlobalAveragePool")
def global_pool(b: OpBuilder, node: NodeCall) -> Tensor:
    """The maximum or mean of each channel."""
    x = node.input()
    return b.reduce("max" if node.op_type == "GlobalMaxPool" else "mean", x, range(2, x.rank))


@importer("GlobalLpPool")
def global_lp_pool(b: OpBuilder, node: NodeCall) -> Tensor:
    """(sum |x| ** p) ** (1 / p) over each channel."""
    x, p = node.input(), float(node.attr("p", 2))
    return power(b, b.reduce("sum", power(b, b.unary("abs", x), p), range(2, x.rank)), 1 / p)
