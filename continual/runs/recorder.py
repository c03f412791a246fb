"""The writing side of a run: rows of R, examples, events, adapters, in an order that survives.

At a boundary the rows and the adapter of experience i are written first, and the checkpoint that
says so afterwards. A run killed in between evaluates experience i again and writes the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from continual.adapters import Adaptation
from continual.backbone import Backbone
from continual.interop.export import save_adapter
from continual.records import (
    ExampleRow,
    RunRecord,
    ScoreRow,
    append_event,
    truncate_events,
    write_atomic,
    write_examples,
    write_json_atomic,
    write_scores,
    write_tokens,
)
from continual.runs.config import RunConfig
from continual.runs.directory import check_unchanged
from continual.scenario import Scenario
from continual.trackers.board import Board
from continual.trackers.collision import collisions
from continual.trackers.cost import Meter
from continual.trackers.perplexity import PerplexityDrift
from continual.trackers.retained import RetainedAccuracy, majority_rows
from continual.trackers.weights import weight_rows
from continual.training.checkpoint import Checkpoint, save_checkpoint

SO_FAR = "so_far"  # costs of an unfinished experience, logged with its checkpoints


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
        self._seconds = 0.0  # of finished experiences

    def begin(self, environment: Mapping[str, Any], resumed: Checkpoint | None) -> None:
        """Create the directory, or check that a run may go on there and drop what came later.

        Raises:
            InputError: the data or the backbone are not those the run began with.
        """
        if (self.folder / "run.yaml").exists():
            check_unchanged(self.folder, environment)
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
            self._carry(events, resumed)
        elif (self.folder / "events.jsonl").exists():
            truncate_events(self.folder, -1, -1)

    def _carry(self, events: Sequence[Mapping[str, Any]], resumed: Checkpoint) -> None:
        """Go on counting costs where the checkpoint was taken."""
        at = resumed.position
        done = [e for e in events if "seconds" in e and e["experience"] < at.experience]
        self._seconds = done[-1]["seconds"] if done else 0.0
        if at.phase == "evaluated":
            self._seconds = [e["seconds"] for e in events if "seconds" in e][-1]
            return
        own = [e[SO_FAR] for e in events if SO_FAR in e and e["experience"] == at.experience]
        self.meter.begin(own[-1] if own else {})

    def observe(self, after: int, step: int) -> None:
        """Evaluate after experience ``after`` and write its rows and its adapter."""
        with self.meter.evaluation():
            scores, examples = self.retained.observe(after, step)
            scores += self.drift.observe(after, step)
            scores += self._diagnostics(after, step)
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
        self._spend(after, step)

    def _diagnostics(self, after: int, step: int) -> list[ScoreRow]:
        """Return what is known of the weights, and before any training of the majority class."""
        rows = collisions(self.scenario, self.adaptation, after, step)
        if after < 0:
            return rows + majority_rows(self.scenario)
        checks = self.config.evaluation
        return rows + weight_rows(self.adaptation, after, step, with_intruders=checks.intruders)

    def observe_within(self, experience: int, step: int) -> None:
        """Score earlier tasks and probes in the middle of an experience and write the rows."""
        with self.meter.evaluation():
            scores = self.retained.within(experience, step) + self.drift.observe(experience, step)
            self._scores = [*self._before(experience, step), *scores]
            write_scores(self.folder, self._scores)
            if self.board is not None:
                self.board.scores(scores)

    def _spend(self, after: int, step: int) -> None:
        """Write down what the experience has cost."""
        spent, memory = self.meter.spent(), self.meter.memory()
        self._seconds += spent["training_seconds"] + spent["evaluation_seconds"]
        self.log(
            {
                "experience": after,
                "step": step,
                "seconds": self._seconds,
                **spent,
                **({} if memory is None else {"peak_memory_bytes": memory}),
                "trained_numbers": self.adaptation.trained_numbers(),
                "stored_numbers": self.adaptation.stored_numbers(),
            }
        )
        self.meter.begin({})

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, and beside it what the experience under way has cost."""
        at = checkpoint.position
        if at.phase != "evaluated":
            self.log({"experience": at.experience, "step": at.step, SO_FAR: self.meter.spent()})
        save_checkpoint(self.folder / "checkpoints", checkpoint)

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

    def close(self) -> None:
        """Let go of what watches the run, however it ended."""
        if self.board is not None:
            self.board.close()
        self.meter.close()
