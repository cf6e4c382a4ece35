"""Measurements and databases for tests."""

from mlirfuse.device import host_device
from mlirfuse.lowering.profile import Measurement, ProfileDatabase, compiler_version, device_identity, structure_key


def measured(text, seconds, device="abacus", compiler="v1", date="2026-01-01T00:00:00+00:00"):
    return Measurement(
        key=structure_key(text),
        device=device,
        compiler=compiler,
        seconds=seconds,
        p10=seconds * 0.9,
        p90=seconds * 1.2,
        runs=60,
        date=date,
        tool="mlirfuse test",
        structure=text,
    )


def measured_here(text, seconds):
    """As this machine and compiler would have measured it."""
    return measured(text, seconds, device_identity(host_device()), compiler_version())


def database(path, *measurements):
    made = ProfileDatabase(path)
    made.store(*measurements)
    return made
