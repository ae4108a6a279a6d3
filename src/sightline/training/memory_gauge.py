"""How much memory this process takes at its peak, and how much of it training may plan with."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path

import torch

GPU_SHARE, CPU_SHARE = 0.9, 0.7
"""Of the memory that is free, how much training may plan with."""


class Gauge:
    """Peak memory that this process took since the gauge was made, and how much it may take."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            torch.cuda.empty_cache()
            self._start = float(torch.cuda.memory_reserved(device))
            self.limit = GPU_SHARE * float(torch.cuda.mem_get_info(device)[0])
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _forget_peak()
            self._start = _status_bytes("VmRSS")
            available = _available_bytes() if device.type == "cpu" else math.inf
            self.limit = CPU_SHARE * available

    def growth(self) -> float:
        """Bytes at the peak above those at the start; 0 where the system does not say."""
        if self._device.type == "cuda":
            return float(torch.cuda.max_memory_reserved(self._device)) - self._start
        return max(0.0, _status_bytes("VmHWM") - self._start)

    def wait(self) -> None:
        """Return when the device has done all it was given."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


def _available_bytes() -> float:
    """Memory the system could still give, within the limit of a container; infinite if unknown."""
    system = _field(Path("/proc/meminfo"), "MemAvailable")
    group = Path("/sys/fs/cgroup")
    try:
        most = int((group / "memory.max").read_text())
        taken = int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return system
    # Files that are only cached are counted as taken, and given back when memory is needed.
    cached = _field(group / "memory.stat", "inactive_file", unit=1)
    return min(system, most - taken + (cached if math.isfinite(cached) else 0))


def _status_bytes(name: str) -> float:
    found = _field(Path("/proc/self/status"), name)
    return found if math.isfinite(found) else 0.0


def _field(file: Path, name: str, *, unit: int = 1024) -> float:
    try:
        for line in file.read_text().splitlines():
            words = line.replace(":", " ").split()
            if words and words[0] == name:
                return float(words[1]) * unit
    except (OSError, ValueError, IndexError):
        pass
    return math.inf


def _forget_peak() -> None:
    """Let the peak count from now; where that is not allowed an older peak makes us careful."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
