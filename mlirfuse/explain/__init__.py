"""Why a network is fused as it is: as data (`facts`, documented in docs/explain-schema.md) and as a page (`page`).

`read` makes the data from a module, with `program` and `group_facts`; the rest needs no compiler.
"""

from mlirfuse.explain.facts import SCHEMA, Explanation, Override

__all__ = ["SCHEMA", "Explanation", "Override"]
