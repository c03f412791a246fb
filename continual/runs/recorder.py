"""The writing side of a run: rows of R, events, adapters, checkpoints, in an order that survives.

At a boundary the rows and the adapter of experience i are written first, and the checkpoint that
says so afterwards. A run killed in between evaluates experience i again and writes the same bytes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from continual.adapters import Adaptation
from continual.backbone import Backbone
from continual.interop.export import save_adapter
from continual.processes import ALONE, Processes
from continual.records import (
    RunRecord,
    ScoreRow,
    append_event,
    cut_events,
    events_size,
    truncate_events,
)
from continual.records.checksums import place_known, settle, write_known
from continual.records.directory import FIXED, check_unchanged
from continual.records.files import json_bytes, system_errors
from continual.runs.config import RunConfig
from continual.runs.faults import Standing
from continual.runs.follower import check_replicas
from continual.scenario import Scenario
from continual.trackers.board import Board
from continual.trackers.collision import collisions
from continual.trackers.cost import Meter
from continual.trackers.ledger import Ledger
from continual.trackers.retained import majority_rows
from continual.trackers.weights import weight_rows
from continual.training.checkpoint import Checkpoint, forget_later, save_checkpoint

SO_FAR = "so_far"  # costs of an unfinished experience, logged with its checkpoints
EVENTS_SIZE = "events_size"  # bytes of events.jsonl at a checkpoint


class Recorder:
    """Writes one run directory."""

    def __init__(
        self,
        *,
        folder: Path,
        scenario: Scenario,
        config: RunConfig,
        backbone: Backbone,
        adaptation: Adaptation,
        ledger: Ledger,
        board: Board | None,
        meter: Meter,
        standing: Standing,
        processes: Processes = ALONE,
    ) -> None:
        self.folder = folder
        self.scenario = scenario
        self.config = config
        self.backbone = backbone
        self.adaptation = adaptation
        self.ledger = ledger
        self.board = board
        self.meter = meter
        self.standing = standing
        self.processes = processes
        self._seconds = 0.0  # of finished experiences

    def begin(self, environment: Mapping[str, Any], resumed: Checkpoint | None) -> None:
        """Create the directory, or check that a run may go on there and drop what came later.

        Raises:
            InputError: the data or the backbone are not those the run began with.
        """
        if (self.folder / "run.yaml").exists():
            fixed = (*FIXED, "backbone_revision")
            check_unchanged(self.folder, environment, fixed, data=self.config.data)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_known(self.folder, "environment.json", json_bytes(dict(environment)))
            text = yaml.safe_dump(self.config.written(), sort_keys=False)
            write_known(self.folder, "run.yaml", text.encode())
        self.standing.begun = True
        if resumed is not None:
            self.standing.saved = resumed.position
            forget_later(self.folder / "checkpoints", resumed.position)
            record = RunRecord.open(self.folder)
            self.ledger.resume(record)
            truncate_events(self.folder, resumed.position.experience, resumed.position.step)
            cut_events(self.folder, resumed.facts.get(EVENTS_SIZE))
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
            self._seconds = max((e["seconds"] for e in events if "seconds" in e), default=0.0)
            return
        own = [e[SO_FAR] for e in events if SO_FAR in e and e["experience"] == at.experience]
        self.meter.begin(own[-1] if own else {})

    @property
    def keeps_states(self) -> bool:
        """Whether the state after every experience stays: not where each is a whole model."""
        return self.adaptation.method.trains != "everything"

    def observe(self, after: int, step: int) -> None:
        """Evaluate after experience ``after`` and write its rows and its adapter."""
        with self.meter.evaluation():
            scores = self.ledger.observe(after, step, self._diagnostics(after, step))
            if after >= 0:
                with system_errors(self.folder / "adapters"):
                    keep_adapter(self.adaptation, self.backbone, self.folder, after)
            if self.board is not None:
                self.board.scores(scores)
        self._spend(after, step)
        settle(self.folder, after, state_kept=self.keeps_states and after >= 0)

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
            scores = self.ledger.observe_within(experience, step)
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
        check_replicas(checkpoint, self.processes)
        at = checkpoint.position
        if at.phase != "evaluated":
            self.log({"experience": at.experience, "step": at.step, SO_FAR: self.meter.spent()})
        facts = {**checkpoint.facts, EVENTS_SIZE: events_size(self.folder)}
        folder = self.folder / "checkpoints"
        with system_errors(folder):
            save_checkpoint(
                folder, replace(checkpoint, facts=facts), keep_boundaries=self.keeps_states
            )
        self.standing.saved = at
        self.processes.wait()

    def log(self, event: dict[str, Any]) -> None:
        """Append one event."""
        append_event(self.folder, event)
        if self.board is not None:
            self.board.log(event)

    def score(self, i: int) -> str:
        """Return how the task that was just learned is scored, in a few words."""
        row = self._row(i)
        return f"{row.task} {row.value:.3f}"

    def _row(self, i: int) -> ScoreRow:
        task = self.scenario[i].task
        row = self.ledger.last(i, task.name, task.score)
        assert row is not None, "the task just learned is always scored"
        return row

    def summary(self, i: int) -> str:
        """Return one line about the experience that just ended."""
        task, row = self.scenario[i].task, self._row(i)
        return (
            f"{self.config.method} (seed {self.config.seed}) · experience {i + 1} of "
            f"{len(self.scenario)} · {task.name}: {task.score} {row.value:.3f} on {row.n} examples"
        )

    def close(self) -> None:
        """Let go of what watches the run, however it ended."""
        if self.board is not None:
            self.board.close()
        self.meter.close()


def keep_adapter(adaptation: Adaptation, backbone: Backbone, folder: Path, after: int) -> None:
    """Write ``adapters/after-NN`` of a run directory, whole, and its checksums before it."""
    draft = folder / "adapters" / f".after-{after:02d}"
    save_adapter(adaptation, backbone, draft)
    if draft.exists():  # a method without adapters leaves none
        place_known(folder, draft, f"adapters/after-{after:02d}")
