"""The schedule family of CPUs."""

from mlirfuse.lowering.schedule.families import Family, register_family
from mlirfuse.lowering.schedule.host import (
    choose_host_schedule,
    host_alternatives,
    host_program,
    host_schedule_from_dict,
    host_schedule_to_dict,
    host_weight_layouts,
    weight_packings,
)

__all__ = ["HOST"]

HOST = register_family(
    Family(
        "cpu",
        choose_host_schedule,
        host_program,
        host_schedule_to_dict,
        host_schedule_from_dict,
        weight_layouts=host_weight_layouts,
        weight_packings=weight_packings,
        alternatives=host_alternatives,
    )
)
