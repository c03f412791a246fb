"""What is observed beside a foreign training, and when; it reads the model and never writes it."""

import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from continual.adapters import Adaptation
from continual.backbone import live_backbone
from continual.backbone.memory import BatchSize
from continual.interop.trainer.book import Book
from continual.interop.trainer.glance import few_nats, looks_untrained
from continual.interop.trainer.live import LiveState, asked_model, undisturbed
from continual.records.rows import BEFORE, PROBE_NATS
from continual.trackers.ledger import Ledger
from continual.trackers.perplexity import PerplexityDrift
from continual.trackers.retained import RetainedAccuracy, majority_rows
from continual.trackers.settings import EvaluationSettings


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a ``train()`` call begins with.

    Attributes:
        model: as the Trainer holds it.
        tokenizer: that belongs to it.
        autocast: the dtype it computes in; None is that of its weights.
        seed: of the training.
        train: its settings.
        step: optimiser steps made; above 0 where a checkpoint is resumed.
        steps: optimiser steps when it ends.
        experience: of the resumed checkpoint; None where nothing is said.
    """

    model: nn.Module
    tokenizer: Any
    autocast: torch.dtype | None
    seed: int
    train: Mapping[str, Any]
    step: int
    steps: int
    experience: int | None


class Watch:
    """Observes the experiences of a book, one ``train()`` call at a time."""

    def __init__(
        self,
        book: Book,
        evaluation: EvaluationSettings,
        *,
        adaptation: Adaptation | None,
        backbone: str,
        max_length: int | None,
        quiet: bool,
    ) -> None:
        self.book, self.evaluation = book, evaluation
        self.experience: int | None = None  # that is being learned; None: nothing is recorded
        self._adaptation, self._name, self._max_length = adaptation, backbone, max_length
        self._quiet = quiet
        self._whole = True  # whether this process sees all of the experience
        self._spent: list[float] = []  # seconds of learning and of evaluation

    def begin(self, call: Call) -> None:
        """Find the experience of a call, and observe what comes before it where that is not done.

        Raises:
            InputError: the model cannot be asked, the data changed, all is recorded already, or a
                checkpoint of another training.
        """
        done, model = self.book.done(), asked_model(call.model)
        options = {"name": self._name, "max_length": self._max_length}
        self._backbone = live_backbone(model, call.tokenizer, **options)
        self.experience = self.book.which(call.experience, call.step, call.steps)
        if self.experience is None:
            self._say("this experience was recorded before")
            return
        self._whole = call.step == 0
        self._autocast, self._state = call.autocast, LiveState(self._adaptation)
        self._ledger = self._make_ledger()
        record = self.book.open(self._backbone, call.seed, call.train)
        if record is not None:
            self._ledger.resume(record)
        self._start()
        for earlier in range(done + 1, self.book.plan.first):
            self._observe(earlier, 0, "before")
        if call.step == 0 and self.experience > self.book.plan.first:
            self._warn_where_begun_again(self.experience)
        self.book.rewind(self.experience, call.step)
        self.log({"step": call.step, "train": dict(call.train)})
        self._start()

    def within(self, step: int) -> None:
        """Score earlier tasks and probes in the middle of the experience."""
        if self.experience is not None:
            self._lap(0)
            with self._asking(f"{self.experience}/{step}"):
                self._ledger.observe_within(self.experience, step)
            self._lap(1)

    def log(self, event: Mapping[str, Any]) -> None:
        """Write down one line of the training."""
        if self.experience is not None:
            self.book.log({"experience": self.experience, **event})

    def end(self, step: int) -> None:
        """Observe what the experience has left, and let go of the model."""
        if self.experience is not None:
            self._lap(0)
            self._observe(self.experience, step, f"{self.experience}/{step}")
            self._say(self._summary(self.experience))
            del self._ledger
        self.experience = None
        del self._backbone

    def _make_ledger(self) -> Ledger:
        checks, size = self.evaluation, BatchSize(self.evaluation.batch_size, self._say)
        asked = (self.book.plan.scenario, self._backbone, self._state)
        retained = RetainedAccuracy(
            *asked,
            batch_size=size,
            tick=lambda name, done, total: None,
            policy=checks.policy,
            every=checks.every,
            sample=checks.sample,
        )
        drift = PerplexityDrift(
            *asked,
            window=checks.probe_window,
            stride=checks.probe_stride or checks.probe_window,
            batch_size=size,
            tick=lambda name, done, total: None,
        )
        return Ledger(self.book.folder, retained, drift)

    def _observe(self, after: int, step: int, moment: str) -> None:
        with self._asking(moment):
            more = majority_rows(self.book.plan.scenario) if after == BEFORE else []
            self._ledger.observe(after, step, more)
        self._lap(1)
        learns = sum(p.numel() for p in self._backbone.parameters() if p.requires_grad)
        spent = dict(zip(("training_seconds", "evaluation_seconds"), self._spent, strict=True))
        known = spent if self._whole else {}
        self.book.vouch(after, step, {"trained_numbers": learns, **known})
        self._start()

    def _asking(self, moment: str) -> AbstractContextManager[None]:
        self._state.moment = moment
        return undisturbed(self._backbone.device, self._autocast)

    def _warn_where_begun_again(self, experience: int) -> None:
        """Warn where a model that should have learned answers as it did before any training."""
        with self._asking("glance"):
            now = few_nats(self._backbone, self.book.plan.scenario, experience - 1)
        before, after = self._ledger.nats(BEFORE), self._ledger.nats(experience - 1)
        if looks_untrained(now, before, after):
            names = self.book.plan.names
            warnings.warn(
                f"{self.book.folder} has recorded that {names[experience - 1]!r} was learned, and "
                "this model answers as it did before any training. If you began again, give `out` "
                f"a new directory; this is recorded as learning {names[experience]!r}.",
                stacklevel=2,
            )

    def _summary(self, i: int) -> str:
        """Return one line: every task's score, beside what it was when learned (or before)."""
        last, scenario = self._ledger.last, self.book.plan.scenario
        parts = []
        for j, task in enumerate(scenario.tasks):
            now, then = last(i, task.name, task.score), last(j, task.name, task.score)
            then = then if j < i else last(BEFORE, task.name, task.score)
            if now is not None:
                change = "" if then is None else f" ({now.value - then.value:+.3f})"
                parts.append(f"{task.name} {now.value:.3f}{change}")
        for probe in scenario.probes:
            now, then = (last(k, probe.name, PROBE_NATS) for k in (i, BEFORE))
            if now is not None and then is not None:
                parts.append(f"{probe.name} {now.value - then.value:+.4f} nats per token")
        names = self.book.plan.names
        return f"after {names[i]} ({i + 1} of {len(names)}): {', '.join(parts)}"

    def _start(self) -> None:
        self._spent, self._mark = [0.0, 0.0], time.monotonic()

    def _lap(self, which: int) -> None:
        now = time.monotonic()
        self._spent[which] += now - self._mark
        self._mark = now

    def _say(self, text: str) -> None:
        if not self._quiet:
            print(f"{self.book.folder}: {text}", file=sys.stderr, flush=True)
