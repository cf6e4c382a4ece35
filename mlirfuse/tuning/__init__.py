"""Measure what the compiler asks: whether two groups are faster as one kernel or as two, and which schedule is fastest.

The compiler's planner asks a chooser; `questions` finds what it would ask of a model, `candidates` makes a network of
each group concerned, `measure` compiles and times it on the target, and `session` stores the times in a profile
database (`mlirfuse.lowering.profile`), which planning reads. `groups`, `search` and `schedules` do so for schedules.
"""

from mlirfuse.tuning.schedules import TRIALS, ScheduleSummary, tune_schedules
from mlirfuse.tuning.session import Progress, Summary, tune_profile

__all__ = ["TRIALS", "Progress", "ScheduleSummary", "Summary", "tune_profile", "tune_schedules"]
