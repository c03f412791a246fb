"""Faults that are provoked in a small run, and what the run says."""

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from continual.backbone.base import Answers
from continual.backbone.causal_lm import CausalLM
from continual.errors import with_notes
from continual.records.lock import locked
from continual.runs.assemble import run
from continual.runs.progress import SilentReporter
from tests.sequences import QUICK, small_scenario

FULL = "Error while serializing: I/O error: No space left on device (os error 28)"


class Notes(SilentReporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def small(folder: Path, reporter: SilentReporter | None = None, **more):
    """Run the small scenario of one task, three steps."""
    arguments = {"settings": QUICK, "out": folder, "reporter": reporter} | more
    return run(small_scenario(1), "lora", **arguments)


def nth(original: Callable, n: int, error: Callable[[], BaseException]) -> Callable:
    """Return a function that raises at its n-th call, and before that does what it does."""
    calls = []

    def failing(*args, **kwargs):
        calls.append(args)
        if len(calls) >= n:
            raise error()
        return original(*args, **kwargs)

    return failing


def patched(patch: pytest.MonkeyPatch, where: str, n: int, error: Callable[[], BaseException]):
    """Let the n-th call of a name raise."""
    room, _, name = where.rpartition(".")
    module = __import__(room, fromlist=[name])
    patch.setattr(module, name, nth(module.__dict__[name], n, error))


def no_space() -> OSError:
    return OSError(errno.ENOSPC, "No space left on device", "file")


def read_only() -> OSError:
    return OSError(errno.EROFS, "Read-only file system", "file")


def words_of(folder: Path, **more) -> str:
    """Return what a small run says that does not reach its end."""
    with pytest.raises(BaseException) as raised:  # noqa: PT011  (StoppedError is no Exception)
        small(folder, **more)
    return with_notes(raised.value)


def spoiled(patch: pytest.MonkeyPatch, n: int, wrong: Callable[[Answers], Answers]) -> None:
    """Change what the backbone answers from its n-th training pass on."""
    answers, passes = CausalLM.answers, []

    def changed(self, *args):
        found = answers(self, *args)
        if torch.is_grad_enabled():
            passes.append(1)
        return wrong(found) if len(passes) >= n else found

    patch.setattr(CausalLM, "answers", changed)


def not_a_number(found: Answers) -> Answers:
    return replace(found, logits=found.logits * float("nan"))


def out_of_memory(patch: pytest.MonkeyPatch, most: int, *, training: bool = True) -> None:
    """Let passes over more examples run out of memory."""
    where = CausalLM
    answers, score = where.answers, where.score

    def limited(self, batch, *rest):
        if len(next(iter(batch.values()))) > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return answers(self, batch, *rest)

    def scored(self, task, encoded, candidates, size):
        if size > most:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return score(self, task, encoded, candidates, size)

    patch.setattr(where, "answers" if training else "score", limited if training else scored)


def in_use(folder: Path) -> str:
    with locked(folder):
        return words_of(folder)


def full(module: str) -> Callable[[], BaseException]:
    """Return the error that a writer of this kind raises on a full disk."""
    return (lambda: SafetensorError(FULL)) if module.endswith("save_file") else no_space
