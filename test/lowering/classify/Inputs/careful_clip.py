"""What a project of its own might add: clips with unequal bounds count as Many-to-Many, so that nothing joins them."""

from mlirfuse.dialect import attribute_value
from mlirfuse.lowering.patterns import no_match, register_pattern
from mlirfuse.mlir import ir


@register_pattern("classify", "fusion.unary", benefit=5)
def keep_clips_apart(op, rewriter):
    """clip(x, a, b)  =>  clip(x, a, b) {mapping = "many-to-many"}, a + b != 0"""
    if attribute_value(op, "kind") != "clip" or attribute_value(op, "alpha") + attribute_value(op, "beta") == 0:
        return no_match(op, "it is no clip with unequal bounds")
    if "mapping" in op.attributes:
        return no_match(op, "it is classified")
    op.attributes["mapping"] = ir.StringAttr.get("many-to-many")
    return None
