"""What a run costs: tokens per second, peak memory, and energy where codecarbon can estimate it."""

import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Counts what is read while learning, and how long that takes.

    Memory is that of the accelerator where the run has one, else the largest resident set of this
    process since the run began (since the process began, where the system cannot start anew).
    Energy is codecarbon's estimate for the whole machine; None where it is not installed.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._tokens = 0
        self.restart()
        self._reset_peak()
        self._energy = _energy()

    def restart(self) -> None:
        """Begin to measure the pace here: what came before was no learning."""
        self._since, self._read = time.monotonic(), 0

    def count(self, tokens: int) -> None:
        """Add the tokens (or images) that one optimiser step has read."""
        self._tokens += tokens
        self._read += tokens

    def pace(self) -> dict[str, float]:
        """Return tokens per second since the last time, and the peak memory, as far as known."""
        rate = self._read / max(time.monotonic() - self._since, 1e-9)
        self.restart()
        memory = self.memory()
        known = {} if memory is None else {"peak_memory_bytes": memory}
        return {"tokens_per_second": round(rate, 1), **known}

    def take(self) -> int:
        """Return how many tokens were read since the last time."""
        taken, self._tokens = self._tokens, 0
        return taken

    def memory(self) -> int | None:
        """Return the peak so far in bytes; None where the system does not tell."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if STATUS.is_file():
            line = next(x for x in STATUS.read_text().splitlines() if x.startswith("VmHWM"))
            return int(line.split()[1]) * 1024
        if sys.platform == "win32":
            return None
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS

    def energy(self) -> float | None:
        """Return the kilowatt-hours used since the last time, or since the meter was made."""
        if self._energy is None:
            return None
        used = self._energy.stop_task().energy_consumed
        self._energy.start_task()
        return float(used)

    def close(self) -> None:
        """Stop measuring."""
        if self._energy is not None:
            self._energy.stop()

    def _reset_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif RESET.exists():
            RESET.write_text("5")  # 5: the peak of the resident set starts anew


def _energy() -> Any:
    """Return a running tracker of codecarbon, which must not speak; None without codecarbon."""
    try:
        from codecarbon import OfflineEmissionsTracker
    except ImportError:
        return None
    logging.getLogger("codecarbon").setLevel(logging.ERROR)
    tracker = OfflineEmissionsTracker(
        country_iso_code="USA",  # asks for one; we report energy, which does not depend on it
        save_to_file=False,
        log_level="error",
        allow_multiple_runs=True,
    )
    tracker.start_task()
    return tracker
