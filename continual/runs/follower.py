"""A process that takes part in a run and writes nothing: what the others of a launcher are."""

import json
from collections.abc import Mapping
from typing import Any

from continual.adapters import Adaptation
from continual.adapters.state import hash_tensors
from continual.backbone import Backbone
from continual.processes import Processes
from continual.runs.faults import Standing
from continual.trackers.perplexity import PerplexityDrift
from continual.trackers.retained import RetainedAccuracy
from continual.trackers.weights import weight_rows
from continual.training.checkpoint import Checkpoint

SAME = (
    "All processes of a launcher make one run together: give each the same command, data and "
    "backbone, and a run directory that all of them see. Where every process is to make a run of "
    "its own, start them without WORLD_SIZE in the environment."
)


class Unmetered:
    """Counts nothing: process 0 knows of all tokens, and its time is everybody's."""

    def count(self, tokens: int) -> None:
        """Counted elsewhere."""

    def pace(self) -> Mapping[str, float]:
        """Nothing is known here."""
        return {}


class Follower:
    """Evaluates its share at every moment of a run; process 0 writes down what comes of it."""

    def __init__(
        self,
        retained: RetainedAccuracy,
        drift: PerplexityDrift,
        adaptation: Adaptation,
        processes: Processes,
        backbone: Backbone,
        standing: Standing,
    ) -> None:
        self.retained, self.drift = retained, drift
        self.adaptation, self.processes, self.backbone = adaptation, processes, backbone
        self.standing = standing
        self.meter = Unmetered()

    def begin(self, environment: Mapping[str, Any], resumed: Checkpoint | None) -> None:
        """Nothing is written here; where the run stands is known."""
        self.standing.begun = True
        self.standing.saved = None if resumed is None else resumed.position

    def observe(self, after: int, step: int) -> None:
        """Take part in an evaluation; of a sharded backbone also in reading its weights."""
        if self.backbone.sharded and after >= 0:
            weight_rows(self.adaptation, after, step, with_intruders=False)
        self.retained.observe(after, step)
        self.drift.observe(after, step)

    def observe_within(self, experience: int, step: int) -> None:
        """Take part in an evaluation in the middle of an experience."""
        self.retained.within(experience, step)
        self.drift.observe(experience, step)

    def save(self, checkpoint: Checkpoint) -> None:
        """Make sure that what process 0 writes down is this process's state too; wait for it."""
        check_replicas(checkpoint, self.processes)
        self.processes.wait()
        self.standing.saved = checkpoint.position

    def log(self, event: Mapping[str, Any]) -> None:
        """Nothing is written here."""

    def score(self, i: int) -> str:
        """Nothing is said here."""
        return ""

    def summary(self, i: int) -> str:
        """Nothing is said here."""
        return ""

    def close(self) -> None:
        """Nothing was opened."""


def check_start(facts: Mapping[str, Any], resumed: Checkpoint | None, processes: Processes) -> None:
    """Raise ``InputError`` unless all processes begin at the same place with the same things."""
    if processes.count > 1:
        place = None if resumed is None else _digest(resumed)
        known = json.loads(json.dumps(facts, default=str))
        processes.check_same("data and backbone", known, SAME)
        processes.check_same("the newest checkpoints", place, SAME)


def check_replicas(checkpoint: Checkpoint, processes: Processes) -> None:
    """Raise ``RuntimeError`` where processes have come to different numbers; nothing is written."""
    if processes.count == 1:
        return
    everyone = processes.gather(_digest(checkpoint))
    others = [rank for rank, one in enumerate(everyone) if one != everyone[0]]
    if others:
        at = checkpoint.position
        raise RuntimeError(
            f"process {others[0]} has come to other numbers than process 0 at experience "
            f"{at.experience}, step {at.step} ({at.phase}), so this state was not saved. All "
            "processes need machines, devices and versions that compute alike. The checkpoint "
            "before it is whole: run the same command again to continue from there."
        )


def _digest(checkpoint: Checkpoint) -> str:
    facts = json.dumps([vars(checkpoint.position), checkpoint.facts], sort_keys=True)
    return hash_tensors(checkpoint.tensors) + facts
