"""Measured times of groups: what they are filed under, and the file that holds them.

Nothing here measures or knows how: `mlirfuse.tuning` fills a database, planning reads it.
"""

from mlirfuse.lowering.profile.database import FoundSchedule, Measurement, Profile, ProfileDatabase, Row
from mlirfuse.lowering.profile.structure import Operation, structure_key, structure_of
from mlirfuse.lowering.profile.versions import compiler_version, device_identity

__all__ = [
    "FoundSchedule",
    "Measurement",
    "Operation",
    "Profile",
    "ProfileDatabase",
    "Row",
    "compiler_version",
    "device_identity",
    "structure_key",
    "structure_of",
]
