"""Matrix products and Einsum."""

import string
from collections.abc import Sequence

from mlirfuse.frontend.builder import OpBuilder
from mlirfuse.frontend.node_call import NodeCall
from mlirfuse.frontend.registry import InvalidNode, importer
from mlirfuse.frontend.tensor import Tensor

__all__: list[str] = []


def matrix_product(b: OpBuilder, x: Tensor, y: Tensor) -> Tensor:
    """numpy.matmul of operands of any ranks."""
    if not x.rank or not y.rank:
        raise InvalidNode("multiplies a scalar; MatMul needs at least vectors")
    batch = max(x.rank, y.rank, 2) - 2
    letters = [c for c in string.ascii_lowercase if c not in "kmn"][:batch]
    left = "k" if x.rank == 1 else "".join(letters[batch - (x.rank - 2) :]) + "mk"
    right = "k" if y.rank == 1 else "".join(letters[batch - (y.rank - 2) :]) + "kn"
    out = "".join(letters) + ("m" if x.rank > 1 else "") + ("n" if y.rank > 1 else "")
    if x.dims[-1] != y.dims[0 if y.rank == 1 else -2]:
        raise InvalidNode(f"multiplies {x.type} by {y.type}, whose inner dimensions differ")
    return b.contract(f"{left},{right}->{out}", x, y)


@importer("MatMul")
def matmul(b: OpBuilder, node: NodeCall) -> Tensor:
    """MatMul is one contraction."""
    return matrix_product(b, node.input(0), node.input(1))


@importer("Gemm")
def gemm(b: OpBuilder, node: NodeCall) -> Tensor:
    """alpha * A' B' + beta * C: the transpositions are in the equation."""
    x, y, c = node.input(0), node.input(1), node.optional(2)
    if x.rank != 2 or y.rank != 2:
        raise InvalidNode(f"multiplies matrices, not {x.type} and {y.type}")
    left = "km" if node.attr("transA", 0) else "mk"
    right = "nk" if node.attr("transB", 0) else "kn"
    if x.dims[left.index("k")] != y.dims[right.index("k")]:
        raise InvalidNode(f"multiplies {x.type} by {y.type} ({left},{right}), whose inner dimensions differ")
    alpha, beta = float(node.attr("alpha", 1.0)), float(node.attr("beta", 1.0))
    z = b.contract(f"{left},{right}->mn", x, y)
    if alpha != 1.0:
        z = b.binary("mul", z, alpha)
    if c is None or beta == 0.0:
        return z
    return b.binary("add", z, c if beta == 1.0 else b.binary("mul", c, beta))


@importer("Einsum")
def einsum(b: OpBuilder, node: NodeCall) -> Tensor:
    """Operands are contracted from left to right; one operand alone is reduced and transposed."""
    operands = node.given()
    terms, out = parse_equation(node.attr("equation", ""), [t.rank for t in operands])
    operands, terms = map(list, zip(*(_diagonal(b, x, t) for x, t in zip(operands, terms, strict=True)), strict=True))
    if len(operands) == 1:
        return _one_operand(b, operands[0], terms[0], out)
    x, have = operands[0], terms[0]
    for index in range(1, len(operands)):
        later = set(out).union(*terms[index + 1 :])
        keep = (
            out if index == len(operands) - 1 else "".join(c for c in dict.fromkeys(have + terms[index]) if c in later)
        )
        x, have = b.contract(f"{have},{terms[index]}->{keep}", x, operands[index]), keep
    return x


def _diagonal(b: OpBuilder, x: Tensor, term: str) -> tuple[Tensor, str]:
    """The operand with every letter once: where one is twice, the elements whose two indices are equal."""
    twice = next((c for c in term if term.count(c) > 1), None)
    if twice is None:
        return x, term
    first, second = (i for i, _ in zip((i for i, c in enumerate(term) if c == twice), range(2), strict=False))
    size = x.dims[first]
    if x.dims[second] != size:
        raise InvalidNode(f"takes the diagonal '{term}' of {x.type}, whose extents differ")
    rest = [i for i in range(x.rank) if i not in (first, second)]
    flat = b.reshape(b.transpose(x, (*rest, first, second)), (*(x.dims[i] for i in rest), size * size))
    starts, sizes, steps = [0] * flat.rank, [*flat.dims[:-1], size], [1] * (flat.rank - 1) + [size + 1]
    return _diagonal(b, b.slice(flat, starts, sizes, steps), "".join(term[i] for i in rest) + twice)


def _one_operand(b: OpBuilder, x: Tensor, term: str, out: str) -> Tensor:
    if not set(out) <= set(term):
        raise InvalidNode(f"gives '{out}', which has dimensions that its operand '{term}' lacks")
    x = b.reduce("sum", x, [i for i, c in enumerate(term) if c not in out], keepdims=False)
    kept = [c for c in term if c in out]
    return b.transpose(x, [kept.index(c) for c in out])


def parse_equation(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The terms and the result of an equation, with letters in place of an ellipsis and of a missing result."""
    left, arrow, out = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise InvalidNode(f"has {len(ranks)} inputs for the equation '{equation}'")
    free = [c for c in string.ascii_letters if c not in equation]
    extra = [
        rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)
    ]
    if any(n < 0 for n in extra):
        raise InvalidNode(f"has an input of lower rank than '{equation}' names")
    widest = max(extra, default=0)
    ellipsis = "".join(free[:widest])
    terms = [term.replace("...", ellipsis[widest - n :]) for term, n in zip(terms, extra, strict=True)]
    if any(len(term) != rank for term, rank in zip(terms, ranks, strict=True)):
        raise InvalidNode(f"has inputs of rank {tuple(ranks)} for the equation '{equation}'")
    if not arrow:
        joined = "".join(terms)
        out = ellipsis + "".join(c for c in sorted(set(joined) - set(ellipsis)) if joined.count(c) == 1)
    return terms, out.replace("...", ellipsis)
