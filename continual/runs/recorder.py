"""The writing side of a run: rows of R, examples, events, adapters, in an order that survives.

At a boundary the rows and the adapter of experience i are written first, and the checkpoint that
says so afterwards. A run killed in between evaluates experience i again and writes the same bytes.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from continual.adapters import Adaptation
from continual.backbone import Backbone
from continual.errors import InputError
from continual.interop.export import save_adapter
from continual.records import (
    ExampleRow,
    RunRecord,
    ScoreRow,
    append_event,
    mark_complete,
    read_json,
    truncate_events,
    write_atomic,
    write_examples,
    write_json_atomic,
    write_scores,
    write_tokens,
)
from continual.runs.config import RunConfig
from continual.runs.directory import differences
from continual.scenario import Scenario
from continual.trackers.board import Board
from continual.trackers.collision import collisions
from continual.trackers.cost import Meter
from continual.trackers.perplexity import PerplexityDrift
from continual.trackers.retained import RetainedAccuracy, majority_rows
from continual.trackers.weights import weight_rows
from continual.training.checkpoint import Checkpoint

FIXED = ("data", "probes", "backbone")  # what must not change under a run


class Recorder:
    """Owns the rows of one run directory."""

    def __init__(
        self,
        *,
        folder: Path,
        scenario: Scenario,
        config: RunConfig,
        backbone: Backbone,
        adaptation: Adaptation,
        retained: RetainedAccuracy,
        drift: PerplexityDrift,
        board: Board | None,
        meter: Meter,
    ) -> None:
        self.folder = folder
        self.scenario = scenario
        self.config = config
        self.backbone = backbone
        self.adaptation = adaptation
        self.retained = retained
        self.drift = drift
        self.board = board
        self.meter = meter
        self._scores: list[ScoreRow] = []
        self._examples: list[ExampleRow] = []
        self._since = time.monotonic()
        self._within = 0.0  # seconds of evaluation in the middle of the current experience
        self._spent = 0.0  # seconds of earlier sessions and finished experiences

    def begin(self, environment: Mapping[str, Any], resumed: Checkpoint | None) -> None:
        """Create the directory, or check that a run may go on there and drop what came later.

        Raises:
            InputError: the data or the backbone are not those the run began with.
        """
        if (self.folder / "run.yaml").exists():
            known = read_json(self.folder / "environment.json")
            changed = [
                line
                for name in FIXED
                for line in differences(known.get(name), environment[name], name)
            ]
            if changed:
                raise InputError(
                    f"the data or backbone of {self.folder} changed since the run began:\n  "
                    + "\n  ".join(changed)
                    + "\nRestore what it began with, or start again in a new directory."
                )
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json_atomic(self.folder / "environment.json", dict(environment))
            text = yaml.safe_dump(self.config.model_dump(mode="json"), sort_keys=False)
            write_atomic(self.folder / "run.yaml", text.encode())
        if resumed is not None:
            record = RunRecord.open(self.folder)
            self._scores = list(record.score_rows)
            self._examples = list(record.examples())
            self.drift.remember(record.tokens())
            truncate_events(self.folder, resumed.position.experience, resumed.position.step)
            events = record.events()
            if self.board is not None:
                self.board.resume(events)
            timed = [event["seconds"] for event in events if "seconds" in event]
            self._spent = timed[-1] if timed else 0.0
        elif (self.folder / "events.jsonl").exists():
            truncate_events(self.folder, -1, -1)

    def observe(self, after: int, step: int) -> None:
        """Evaluate after experience ``after`` and write its rows and its adapter."""
        training = time.monotonic() - self._since - self._within
        scores, examples = self.retained.observe(after, step)
        scores += self.drift.observe(after, step)
        scores += collisions(self.scenario, self.adaptation, after, step)
        if after >= 0:
            scores += weight_rows(
                self.adaptation, after, step, with_intruders=self.config.evaluation.intruders
            )
        if after < 0:
            scores += majority_rows(self.scenario)
        self._scores = [*self._before(after, step), *scores]
        self._examples = [row for row in self._examples if row.experience < after] + examples
        write_scores(self.folder, self._scores)
        write_examples(self.folder, self._examples)
        if self.drift.probes:
            write_tokens(self.folder, self.drift.tokens())
        if after >= 0:
            folder = self.folder / "adapters" / f"after-{after:02d}"
            save_adapter(self.adaptation, self.backbone, folder)
        if self.board is not None:
            self.board.scores(scores)
        self._spend(after, step, training)

    def observe_within(self, experience: int, step: int) -> None:
        """Score earlier tasks and probes in the middle of an experience and write the rows."""
        began = time.monotonic()
        scores = self.retained.within(experience, step) + self.drift.observe(experience, step)
        self._scores = [*self._before(experience, step), *scores]
        write_scores(self.folder, self._scores)
        if self.board is not None:
            self.board.scores(scores)
        self._within += time.monotonic() - began
        self.meter.restart()

    def _spend(self, after: int, step: int, training: float) -> None:
        """Write down what the experience has cost."""
        whole = time.monotonic() - self._since
        self._spent += whole
        tokens, memory, energy = self.meter.take(), self.meter.memory(), self.meter.energy()
        measured = {"peak_memory_bytes": memory, "energy_kwh": energy}
        self.log(
            {
                "experience": after,
                "step": step,
                "seconds": self._spent,
                "training_seconds": training,
                "evaluation_seconds": whole - training,
                "training_tokens": tokens,
                **{name: value for name, value in measured.items() if value is not None},
                "trained_numbers": self.adaptation.trained_numbers(),
                "stored_numbers": self.adaptation.stored_numbers(),
            }
        )
        self._since, self._within = time.monotonic(), 0.0
        self.meter.restart()

    def _before(self, experience: int, step: int) -> list[ScoreRow]:
        """Return the rows of earlier moments; a run that continues makes later ones again."""
        return [row for row in self._scores if (row.experience, row.step) < (experience, step)]

    def log(self, event: dict[str, Any]) -> None:
        """Append one event."""
        append_event(self.folder, event)
        if self.board is not None:
            self.board.log(event)

    def summary(self, i: int) -> str:
        """Return one line about the experience that just ended."""
        task = self.scenario[i].task
        row = next(
            row
            for row in reversed(self._scores)
            if (row.experience, row.task, row.metric) == (i, task.name, task.score)
        )
        return (
            f"{self.config.method} (seed {self.config.seed}) · experience {i + 1} of "
            f"{len(self.scenario)} · {task.name}: {task.score} {row.value:.3f} on {row.n} examples"
        )

    def finish(self) -> None:
        """Mark the run as complete."""
        if self.board is not None:
            self.board.close()
        self.meter.close()
        mark_complete(self.folder)
