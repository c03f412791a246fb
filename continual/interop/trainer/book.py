"""The run directory of a foreign training: what it says already, and which experience is next.

An event with ``"phase": "evaluated"`` vouches for the rows of its experience; what an interrupted
session wrote beyond the last of them is observed again. A Trainer's checkpoint says in which
experience it was made, so that a resumed ``train()`` is not taken for the next one.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from continual.backbone import Backbone
from continual.errors import InputError
from continual.interop.trainer.plan import Plan
from continual.records import RunRecord, append_event, mark_complete, truncate_events
from continual.records.checksums import forget, settle, write_known
from continual.records.directory import check_unchanged, find_run
from continual.records.environment import describe_environment
from continual.records.files import json_bytes
from continual.records.paths import COMPLETE, ENVIRONMENT, RUN
from continual.records.rows import BEFORE
from continual.scenario.facts import data_facts

FREE = ("backbone", "seed", "train")  # of run.yaml: each train() call has its own
FIXED = ("data", "probes", "asked")  # of environment.json; data may move, and be the same
EVALUATED = "evaluated"


class Book:
    """Owns the files of one run directory but its rows."""

    def __init__(self, folder: Path, plan: Plan, settings: Mapping[str, Any]) -> None:
        """Look at what is there; nothing is written yet.

        Args:
            folder: the run directory, or where it will be.
            plan: its experiences.
            settings: what else of run.yaml stays the same.

        Raises:
            InputError: ``folder`` holds something else, or a run of another scenario.
        """
        self.folder, self.plan = folder, plan
        self._config = {
            "scenario": plan.scenario.name,
            "setting": plan.scenario.setting,
            "tasks": list(plan.tasks),
            "probes": [probe.name for probe in plan.scenario.probes],
            "learns": list(plan.learns),
            **settings,
        }
        self.record()

    def record(self) -> RunRecord | None:
        """Return what is there; None before the first session."""
        return find_run(self.folder, self._config, free=FREE)

    def done(self) -> int:
        """Return the last experience whose rows are vouched for; below -1: none."""
        done = [e["experience"] for e in self._events() if e.get("phase") == EVALUATED]
        return max(done, default=BEFORE - 1)

    def _events(self) -> list[dict[str, Any]]:
        record = self.record()
        return [] if record is None else record.events()

    def which(self, told: int | None, step: int, steps: int) -> int | None:
        """Return the experience of a ``train()`` call; None where it repeats a recorded one.

        Args:
            told: the experience of the checkpoint that is resumed, where it says one.
            step: optimiser steps made when the call begins; above 0 where one is resumed.
            steps: those made when it will end.

        Raises:
            InputError: everything is recorded, or a checkpoint from before something recorded, or
                of a training that was not.
        """
        done = self.done()
        following = max(done + 1, self.plan.first)
        told = following if told is None else told
        if step and (done < self.plan.first - 1 or told > following):
            raise InputError(
                f"this checkpoint was made at step {step} of experience {told}, and {self.folder} "
                "does not know the model before that, so what was forgotten cannot be told. Give "
                "the directory that was recorded beside it, or train from the start."
            )
        if told < following and step >= steps:
            return None
        if told < done:
            raise InputError(
                f"this checkpoint is from the middle of experience {told}, and {self.folder} has "
                f"recorded experience {done} since. Give `out` a new directory."
            )
        if told >= len(self.plan.tasks):
            raise InputError(
                f"{self.folder} has recorded all {len(self.plan.learns)} train() calls, which "
                f"learned {list(self.plan.learns)}. Give `out` a new directory; `learns` names "
                "what further calls learn."
            )
        return told

    def open(self, backbone: Backbone, seed: int, train: Mapping[str, Any]) -> RunRecord | None:
        """Begin the directory, or check that one may go on with what is there, and return that.

        Raises:
            InputError: data, prompts or answers are not those it began with.
        """
        facts = data_facts(self.plan.scenario)
        record = self.record()
        if record is not None:
            check_unchanged(self.folder, facts, FIXED)
            return record
        facts["backbone"] = {
            "name": backbone.name,
            "family": backbone.family,
            "fingerprint": backbone.fingerprint(),
        }
        config = {**self._config, "backbone": backbone.name, "seed": seed, "train": dict(train)}
        self.folder.mkdir(parents=True, exist_ok=True)
        write_known(self.folder, ENVIRONMENT, json_bytes(describe_environment() | facts))
        write_known(self.folder, RUN, yaml.safe_dump(config, sort_keys=False).encode())
        return None

    def rewind(self, experience: int, step: int) -> None:
        """Forget the events after a position; a run that was finished goes on."""
        forget(self.folder, COMPLETE)
        (self.folder / COMPLETE).unlink(missing_ok=True)
        at = (experience, step) if step else (experience - 1, sys.maxsize)
        truncate_events(self.folder, *at)

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one event."""
        append_event(self.folder, event)

    def vouch(self, experience: int, step: int, facts: Mapping[str, Any]) -> None:
        """Say that the rows of an experience are there; after the last the run is complete.

        Args:
            experience: that is evaluated.
            step: its optimiser steps.
            facts: what it has cost, as far as this process knows.
        """
        earlier = [e for e in self._events() if e.get("phase") == EVALUATED]
        costs = [*earlier, facts]
        if all("training_seconds" in one for one in costs):
            spent = [one["training_seconds"] + one["evaluation_seconds"] for one in costs]
            facts = {"seconds": sum(spent), **facts}
        self.log({"experience": experience, "step": step, "phase": EVALUATED, **facts})
        settle(self.folder, experience)
        if experience == len(self.plan.tasks) - 1:
            mark_complete(self.folder)
