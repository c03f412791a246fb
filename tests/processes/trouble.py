"""A run of which a process has some trouble: ``python -m tests.processes.trouble WHAT OUT ...``.

memory      process 1 cannot learn from more than two examples at once; with ``shard`` from none
late        the same from the third step on
broken      process 1 fails in the fifth step
evaluation  process 1 is asked to stop while it evaluates what was learned

With ``stop`` process 0 is asked to stop in the fourth step.
"""

import os
import signal
import sys
from pathlib import Path

import torch

from continual.backbone.causal_lm import CausalLM
from continual.errors import StoppedError, with_notes
from continual.runs.assemble import run
from continual.runs.progress import SilentReporter
from continual.trackers.retained import RetainedAccuracy
from tests.sequences import QUICK, small_scenario

OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


def limit(most: int, after: int, error: Exception) -> None:
    """Let a pass that learns fail, after so many of them, where it has more examples."""
    answers, left = CausalLM.answers, [after]

    def limited(backbone, batch, *rest):
        found = answers(backbone, batch, *rest)
        if not torch.is_inference_mode_enabled():
            left[0] -= 1
            if left[0] < 0 and len(next(iter(batch.values()))) > most:
                raise error
        return found

    CausalLM.answers = limited


def stop_evaluating() -> None:
    """Let an evaluation begin with a signal."""
    observe = RetainedAccuracy.observe

    def stopped(self, after, step):
        if after >= 0:
            signal.raise_signal(signal.SIGTERM)
        observe(self, after, step)

    RetainedAccuracy.observe = stopped


class StopAt(SilentReporter):
    """Sends a signal to its own process after some steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self, what: str, done: int, total: int) -> None:
        self.left -= "learning" in what
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)


def main(what: str, out: str, *more: str) -> None:
    """Make the run, and print how it ends where it fails."""
    settings = {**QUICK, "backbone": {"shard": "shard" in more}}
    if os.environ.get("RANK") == "1" and what in ("memory", "late"):
        limit(2 * ("shard" not in more), 2 * (what == "late"), RuntimeError(OUT_OF_MEMORY))
    elif os.environ.get("RANK") == "1" and what == "broken":
        limit(0, 4, ValueError("the cat is on the keyboard."))
    elif os.environ.get("RANK") == "1" and what == "evaluation":
        stop_evaluating()
    scenario, reporter = small_scenario(1, train=48), StopAt(4) if "stop" in more else None
    try:
        run(scenario, "lora", out=Path(out), settings=settings, reporter=reporter)
    except StoppedError as stop:
        sys.exit("silent" if stop.silent else f"stopped: {stop}")
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {with_notes(error)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
