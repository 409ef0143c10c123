"""How much memory was held at most. Knows nothing of what held it."""

from pathlib import Path
from types import TracebackType
from typing import Self

import torch

_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


class PeakMemory:
    """Context manager that measures the most memory held inside it, in `bytes`, what was held before included.

    On a GPU that is what torch has allocated there; on a CPU the process' resident memory, which Linux alone can
    start counting anew (https://docs.kernel.org/filesystems/proc.html, `clear_refs`); elsewhere `bytes` is `None`.
    """

    def __init__(self, device: torch.device) -> None:
        self.bytes: int | None = None
        self._device = device

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        elif _CLEAR_REFS.exists():
            _CLEAR_REFS.write_text("5")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device.type == "cuda":
            self.bytes = torch.cuda.max_memory_allocated(self._device)
        elif _CLEAR_REFS.exists():
            peak = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
            self.bytes = int(peak.split()[1]) * 1024
