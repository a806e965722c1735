"""Software versions and hardware of a run, stored with its results."""

import os
import platform
import time
from pathlib import Path

import numpy as np
import torch

from samplewise.files.versions import VERSION


def versions() -> dict[str, str]:
    """Version of each package that a result depends on, read from the imported packages.

    The installed metadata may lack the build of torch: `2.13.0` instead of `2.13.0+cu130`.
    """
    return {
        "python": platform.python_version(),
        "samplewise": VERSION,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def machine(device: str) -> dict[str, str | int]:
    """System, CPU, cores, torch threads, device, and the name of the accelerator if one is used."""
    about: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": device,
    }
    if device.startswith("cuda"):
        about["accelerator"] = torch.cuda.get_device_name(device)
    return about


def clock(device: torch.device) -> float:
    """Seconds from some origin: CPU time of this process, or on an accelerator the wall clock.

    An accelerator works through a queue, so the clock is read when the queue is empty.
    """
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"
