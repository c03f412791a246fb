"""What a run costs: tokens per second, peak memory, and energy where codecarbon can estimate it."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Meter:
    """Counts what an experience costs: seconds of learning and evaluation, tokens, energy.

    Memory is that of the accelerator where the run has one, else the largest resident set of this
    process since the run began (since the process began, where the system cannot start anew).
    Energy is codecarbon's estimate for the whole machine; None where it is not installed.
    """

    def __init__(self, device: torch.device, clock: Callable[[], float] = time.monotonic) -> None:
        self.device, self.clock = device, clock
        self._mark = clock()
        self._tokens_at, self._learned_at = 0, 0.0  # when the pace was last asked for
        self.begin({})
        self._reset_peak()
        self._energy = _energy()

    def begin(self, carried: Mapping[str, float]) -> None:
        """Begin an experience, or go on with one that has already cost something."""
        self._learning = carried.get("training_seconds", 0.0)
        self._evaluating = carried.get("evaluation_seconds", 0.0)
        self._tokens = int(carried.get("training_tokens", 0))
        self._used = carried.get("energy_kwh") if carried else 0.0
        self._tokens_at, self._learned_at = self._tokens, self._learning

    def count(self, tokens: int) -> None:
        """Add the tokens (or images) that one optimiser step has read."""
        self._tokens += tokens

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Inside, time is spent on evaluation; outside, on learning."""
        self._learning += self._lap()
        try:
            yield
        finally:
            self._evaluating += self._lap()

    def spent(self) -> dict[str, float]:
        """Return what the experience has cost so far, as far as it is known."""
        self._learning += self._lap()
        found = {
            "training_seconds": self._learning,
            "evaluation_seconds": self._evaluating,
            "training_tokens": self._tokens,
        }
        if self._energy is None:
            return found
        try:
            used = float(self._energy.stop_task().energy_consumed)
            self._energy.start_task()
        except ArithmeticError:  # it divides by times, which are 0 where a clock was set back
            self._energy = self._used = None
        if self._used is None:  # also where a session without codecarbon had its part in it
            return found
        self._used += max(0.0, used)
        return found | {"energy_kwh": self._used}

    def pace(self) -> dict[str, float]:
        """Return tokens per second of learning since the last time, and the peak memory."""
        self._learning += self._lap()
        seconds = max(self._learning - self._learned_at, 1e-9)
        rate = (self._tokens - self._tokens_at) / seconds
        self._tokens_at, self._learned_at = self._tokens, self._learning
        memory = self.memory()
        known = {} if memory is None else {"peak_memory_bytes": memory}
        return {"tokens_per_second": round(rate, 1), **known}

    def memory(self) -> int | None:
        """Return the peak so far in bytes; None where the system does not tell."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if STATUS.is_file():
            lines = STATUS.read_text().splitlines()
            peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")]
            if peaks:
                return peaks[0]
        if sys.platform == "win32":
            return None
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

    def close(self) -> None:
        """Stop measuring."""
        if self._energy is not None:
            with suppress(ArithmeticError):  # as above
                self._energy.stop()

    def _lap(self) -> float:
        now = self.clock()
        lap, self._mark = now - self._mark, now
        return max(0.0, lap)  # a clock that was set back has cost nothing

    def _reset_peak(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        elif RESET.exists():
            with suppress(OSError):  # some sandboxes forbid it; then the peak is the process's
                RESET.write_text("5")  # 5: the peak of the resident set starts anew


def _energy() -> Any:
    """Return a running tracker of codecarbon, which must not speak; None without codecarbon."""
    try:
        from codecarbon import OfflineEmissionsTracker  # pyright: ignore[reportMissingImports]
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
