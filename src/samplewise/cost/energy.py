"""`EnergyMeter`: what tells the energy of a run, if the machine does."""

from typing import Protocol, runtime_checkable

__all__ = ["EnergyMeter"]


@runtime_checkable
class EnergyMeter(Protocol):
    """Tells the energy that the machine has used since the meter was made. See `Ledger.measure_energy`."""

    def joules(self) -> float | None:
        """Joules since the meter was made, never less than before; None if the machine does not tell."""
