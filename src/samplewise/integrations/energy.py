"""`ZeusMeter`: the energy of processors and accelerators, from RAPL and NVML, read by the package zeus."""

from typing import Any

from samplewise.checks import require

__all__ = ["ZeusMeter"]


class ZeusMeter:
    """Adds up the energy of all processor packages, their memory and all visible accelerators.

    Counters are read by `zeus`: RAPL for processors of Intel and AMD, NVML for accelerators of NVIDIA. They
    cover the whole machine, so idle power and other programs are in the number: it is an estimate of what a
    run takes. Fans, disks and losses of the power supply are not in it. A processor's counters often need
    the rights of root. What cannot be read is left out.

    >>> selector.ledger.measure_energy(ZeusMeter())  # doctest: +SKIP

    Raises:
        ImportError: if zeus is not installed (extra `energy`).
    """

    _WINDOW = "samplewise"

    def __init__(self) -> None:
        self._monitor: Any = require("zeus.monitor", "energy").ZeusMonitor()
        self._used = 0.0
        self.measures = bool(self._monitor.gpu_indices or self._monitor.cpu_indices)
        """Whether the machine tells anything."""
        if self.measures:
            self._begin()

    def joules(self) -> float | None:
        """Joules since the meter was made; None if the machine tells nothing."""
        if not self.measures:
            return None
        found = self._monitor.end_window(self._WINDOW, sync_execution=False)
        parts = (found.gpu_energy, found.cpu_energy, found.dram_energy)
        self._used += sum(sum(part.values()) for part in parts if part)
        self._begin()
        return self._used

    def _begin(self) -> None:
        # Work that an accelerator still has to do is counted later: reading must not wait for it.
        self._monitor.begin_window(self._WINDOW, sync_execution=False)
