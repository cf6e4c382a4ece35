"""The one error of the simulator, and where in a kernel it happened."""

from dataclasses import dataclass

from mlirfuse.errors import MlirfuseError

__all__ = ["SimulationError", "Site"]


class SimulationError(MlirfuseError):
    """A kernel did something undefined, or uses an operation that the simulator does not know."""


@dataclass(frozen=True)
class Site:
    """One operation of a kernel, for messages."""

    kernel: str
    operation: str
    location: str
    memref: str = ""

    def fault(self, what: str) -> SimulationError:
        """An error at this site: kernel, operation, memref, `what`, location."""
        memref = f" on {self.memref}" if self.memref else ""
        return SimulationError(f"kernel {self.kernel}: {self.operation}{memref}: {what} (at {self.location})")
