"""affine and scf: loops and conditions. Divergent ones run under masks until no lane is left."""

from typing import Any

from mlirfuse.mlir import ir
from mlirfuse.simulator.element import value_type
from mlirfuse.simulator.linear import Linear
from mlirfuse.simulator.ops.index import condition, map_results
from mlirfuse.simulator.registry import translates
from mlirfuse.simulator.translator import Translator


def _assign(t: Translator, names: list[str], values: list[str]) -> None:
    if names:
        t.line(f"{', '.join(names)} = {', '.join(values)}")


def _variables(t: Translator, values: Any) -> list[str]:
    """A variable per value, of the current scope."""
    return [t.fresh(lanes=not t.is_uniform(v)) for v in values]


def _bind(t: Translator, values: Any, names: list[str]) -> None:
    for value, name in zip(values, names, strict=True):
        t.bind(value, name)


def _results(t: Translator, op: Any, carried: list[str]) -> None:
    """The results of a loop, as variables that no longer change."""
    _bind(t, op.results, [t.assign(name, not t.is_uniform(r)) for name, r in zip(carried, op.results, strict=True)])


def _loop(t: Translator, op: Any, lower: str, upper: str, step: str, inits: list[Any], start: Linear | None) -> None:
    """`for` with bounds as variables; `start` is the lower bound as a sum, if the counter is an index."""
    body, outer = op.regions[0].blocks[0], t.scope
    counter, *arguments = body.arguments
    uniform = t.is_uniform(counter)
    carried = _variables(t, arguments)
    _assign(t, carried, t.refs(inits))
    scope = t.scope = t.inner()
    for name in carried:
        t.move_home(name, scope)
    variable = t.fresh(lanes=False)
    mask = t.mask
    if uniform:
        header = f"for {variable} in range(int({lower}), int({upper}), int({step})):"
        if start is None:
            t.bind(counter, t.assign(f"cast({variable}, {t.constant(value_type(counter.type).dtype)})", lanes=False))
        else:
            t.bind_linear(counter, Linear.variable(variable))
    else:
        header = f"for {variable} in itertools.count():"
        mask = _enter_iteration(t, counter, variable, lower, upper, step, start)
    _bind(t, arguments, carried)
    yields = t.refs(t.block(body, scope, mask))
    if uniform:
        _assign(t, carried, yields)
    else:
        _assign(t, carried, [f"keep({mask}, {new}, {old})" for new, old in zip(yields, carried, strict=True)])
    t.scope = outer
    t.line(header, scope)
    _results(t, op, carried)


def _enter_iteration(
    t: Translator, counter: Any, variable: str, lower: str, upper: str, step: str, start: Linear | None
) -> str:
    """A divergent iteration: the mask of the lanes that are still inside their bounds."""
    if start is not None and step.isdigit():
        t.bind_linear(counter, start + Linear.variable(variable).scale(int(step)))
    else:
        dtype = t.constant(value_type(counter.type).dtype)
        t.bind(counter, t.assign(f"cast({lower}+{variable}*{step}, {dtype})"))
    mask = t.assign(f"enter({t.mask}, {t.ref(counter)}<{upper})")
    t.line(f"if {mask} is False: break")
    return mask


@translates("affine.for")
def affine_for(t: Translator, op: Any) -> None:
    """The lower bound is the greatest of its map's results, the upper the least."""
    segments = list(ir.DenseI32ArrayAttr(op.attributes["operandSegmentSizes"]))
    operands = list(op.operands)
    lower = map_results(t, op.attributes["lowerBoundMap"], operands[: segments[0]])
    upper = map_results(t, op.attributes["upperBoundMap"], operands[segments[0] : segments[0] + segments[1]])
    start = lower[0] if len(lower) == 1 else Linear.variable(_extremum(t, "larger", lower))
    step = str(ir.IntegerAttr(op.attributes["step"]).value)
    bound = t.sum(upper[0]) if len(upper) == 1 else _extremum(t, "smaller", upper)
    _loop(t, op, t.sum(start), bound, step, operands[sum(segments[:2]) :], start)


def _extremum(t: Translator, function: str, sums: list[Linear]) -> str:
    text = t.sum(sums[0])
    for other in sums[1:]:
        text = f"{function}({text}, {t.sum(other)})"
    return t.pure(text, lanes=any(t.is_lane_name(name) for s in sums for name, _ in s.terms))


@translates("scf.for")
def scf_for(t: Translator, op: Any) -> None:
    """Half open, with a positive step."""
    lower, upper, step, *inits = op.operands
    start = t.linear(lower) if isinstance(lower.type, ir.IndexType) else None
    _loop(t, op, t.ref(lower), t.ref(upper), t.ref(step), inits, start)


@translates("affine.if")
def affine_if(t: Translator, op: Any) -> None:
    """The condition is an integer set of the operands."""
    operands = list(op.operands)
    uniform = all(t.is_uniform(v) for v in operands)
    _branch(t, op, condition(t, op.attributes["condition"], operands), uniform)


@translates("scf.if")
def scf_if(t: Translator, op: Any) -> None:
    """The condition is an i1."""
    _branch(t, op, t.ref(op.operands[0]), t.is_uniform(op.operands[0]))


def _branch(t: Translator, op: Any, test: str, uniform: bool) -> None:
    blocks = [region.blocks[0] for region in op.regions if len(region.blocks)]
    if uniform:
        _uniform_branch(t, op, test, blocks)
    else:
        _divergent_branch(t, op, test, blocks)


def _uniform_branch(t: Translator, op: Any, test: str, blocks: list[Any]) -> None:
    outer, results = t.scope, _variables(t, op.results)
    _assign(t, results, ["None"] * len(results))
    scopes = []
    for block in blocks:
        scope = t.inner()
        yields = t.block(block, scope, t.mask)
        _assign(t, results, t.refs(yields))
        t.scope = outer
        scopes.append(scope)
    t.line(f"if {test}:", scopes[0])
    if len(scopes) > 1:
        t.line("else:", scopes[1])
    _bind(t, op.results, results)


def _divergent_branch(t: Translator, op: Any, test: str, blocks: list[Any]) -> None:
    """Both sides may run; the results are selected lane by lane."""
    outer = t.scope
    masks = [t.fresh(), t.fresh()]
    t.line(f"{masks[0]}, {masks[1]} = split({t.mask}, {test})")
    sides = []
    for block, mask in zip(blocks, masks, strict=False):
        values = [t.fresh() for _ in op.results]
        _assign(t, values, ["None"] * len(values))
        scope = t.inner()
        t.move_home(mask, scope)
        yields = t.block(block, scope, mask)
        _assign(t, values, t.refs(yields))
        t.scope = outer
        t.line(f"if {mask} is not False:", scope)
        sides.append(values)
    for position, result in enumerate(op.results):
        then, otherwise = sides[0][position], sides[1][position]
        t.bind(result, t.assign(f"merge({test}, {masks[0]}, {masks[1]}, {then}, {otherwise})"))


@translates("scf.while")
def scf_while(t: Translator, op: Any) -> None:
    """Lanes leave one by one; each keeps the values that it passed to its last condition."""
    outer = t.scope
    before, after = (region.blocks[0] for region in op.regions)
    carried = [t.fresh() for _ in before.arguments]
    results = [t.fresh() for _ in op.results]
    mask = t.assign(t.mask)
    _assign(t, carried, t.refs(op.operands))
    _assign(t, results, ["None"] * len(results))
    scope = t.scope = t.inner()
    for name in (*carried, *results, mask):
        t.move_home(name, scope)
    _bind(t, before.arguments, carried)
    test, *passed = t.refs(t.block(before, scope, mask))
    _assign(t, results, [f"keep({mask}, {new}, {old})" for new, old in zip(passed, results, strict=True)])
    t.line(f"{mask} = enter({mask}, {test})")
    t.line(f"if {mask} is False: break")
    _bind(t, after.arguments, results)
    yields = t.refs(t.block(after, scope, mask))
    _assign(t, carried, [f"keep({mask}, {new}, {old})" for new, old in zip(yields, carried, strict=True)])
    t.scope = outer
    t.line("while True:", scope)
    _results(t, op, results)
