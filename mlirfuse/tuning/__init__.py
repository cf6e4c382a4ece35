"""Measure what planning asks: whether two groups are faster as one kernel or as two.

The compiler's planner asks a chooser; `questions` finds what it would ask of a model, `candidates` makes a network of
each group concerned, `measure` compiles and times it on the target, and `session` stores the times in a profile
database (`mlirfuse.lowering.profile`), which planning reads.
"""

from mlirfuse.tuning.session import Progress, Summary, tune_profile

__all__ = ["Progress", "Summary", "tune_profile"]
