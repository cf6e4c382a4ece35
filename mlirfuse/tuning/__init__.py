"""Measure what the compiler asks: whether two groups are faster as one kernel or as two, and which schedule is fastest.

The compiler's planner asks a chooser; `questions` finds what it would ask of a model, `candidates` makes a network of
each group concerned, `measure` compiles and times it on the target, and `profiling` stores the times in a profile
database (`mlirfuse.lowering.profile`), which planning reads. `groups`, `search` and `schedules` do so for schedules;
`request` and `run` are what both ways share.
"""

from mlirfuse.tuning.profiling import ProfileSummary, tune_profile
from mlirfuse.tuning.run import Progress, Summary
from mlirfuse.tuning.schedules import TRIALS, ScheduleSummary, tune_schedules

__all__ = ["TRIALS", "ProfileSummary", "Progress", "ScheduleSummary", "Summary", "tune_profile", "tune_schedules"]
