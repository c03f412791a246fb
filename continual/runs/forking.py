"""What a fork begins with: its first state, and the rows that it takes over."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from continual.records import (
    RunRecord,
    truncate_events,
    write_examples,
    write_scores,
    write_tokens,
)
from continual.records.checksums import place_known, settle, write_known
from continual.records.environment import describe_environment
from continual.records.files import json_bytes
from continual.records.paths import ENVIRONMENT, EVENTS, RUN
from continual.runs.config import RunConfig
from continual.runs.parts import Parts
from continual.runs.stages import STAGES, begin_through, stages_of
from continual.scenario import Scenario
from continual.training.checkpoint import Checkpoint, Position, save_checkpoint
from continual.training.rehearsal import Memory


def add_stage(draft: Path, origin: RunConfig, state: Checkpoint) -> None:
    """Keep what an earlier method learned, so that the backbone can be made of it again."""
    stage = draft / STAGES / f"{len(stages_of(draft)):02d}"
    stage.parent.mkdir(exist_ok=True)
    tensors = {name: t for name, t in state.tensors.items() if name.startswith("state|")}
    written = save_checkpoint(draft / ".stage", replace(state, tensors=tensors, facts={}))
    written.rename(stage)
    shutil.rmtree(draft / ".stage")
    text = yaml.safe_dump(origin.written(), sort_keys=False)
    (stage / RUN).write_text(text, "utf-8")


def fresh_state(
    scenario: Scenario, config: RunConfig, parts: Parts, state: Checkpoint
) -> Checkpoint:
    """Return the state of a method that has learned nothing yet, at the boundary of the fork."""
    at = state.position
    begin_through(scenario, parts.backbone, parts.adaptation, config.seed, at.experience)
    own = parts.adaptation.state()
    return Checkpoint(
        position=Position(experience=at.experience, step=at.step, phase="evaluated"),
        tensors={f"state|{name}": tensor for name, tensor in own.items()},
        facts={"memory": memory_after(scenario, config, at.experience)},
    )


def memory_after(scenario: Scenario, config: RunConfig, after: int) -> dict[str, Any]:
    """Return what rehearsal keeps after an experience: a function of the seed and the data."""
    memory, ids = Memory(config.rehearsal, config.seed), {}
    for experience in scenario[: after + 1] if config.rehearsal.size else ():
        train = experience.task.load().train
        labels = list(train.column("label")) if experience.task.labels else [0] * len(train)
        memory.admit(experience.index, labels)
        ids[experience.index] = train.column("id")
    return memory.facts(ids)


def write(source: Path, draft: Path, config: RunConfig, parts: Parts, state: Checkpoint) -> None:
    """Write everything that a run has after its first experiences, and its checkpoint."""
    record, after = RunRecord.open(source), state.position.experience
    assert config.fork is not None
    told = {"fork": config.fork.model_dump(mode="json")}
    write_known(draft, ENVIRONMENT, json_bytes(describe_environment() | dict(parts.facts) | told))
    write_known(draft, RUN, yaml.safe_dump(config.written(), sort_keys=False).encode())
    write_scores(draft, [row for row in record.score_rows if row.experience <= after])
    examples = [row for row in record.examples() if row.experience <= after]
    write_examples(draft, examples)
    last = max((row.experience for row in record.examples()), default=after) == after
    tokens = record.tokens()
    if tokens:  # what they were just then is known of the newest boundary only
        rows = tokens if last else [replace(row, after=math.nan) for row in tokens]
        write_tokens(draft, rows)
    if (source / EVENTS).is_file():
        shutil.copy(source / EVENTS, draft / EVENTS)
        truncate_events(draft, after, state.position.step)
    for k in range(after + 1):
        _copy(source, draft, f"adapters/after-{k:02d}")
    for stage in stages_of(draft):
        name = f"{STAGES}/{stage.name}"
        place_known(draft, stage.rename(draft / f".{stage.name}"), name)
    save_checkpoint(draft / "checkpoints", state, keep_boundaries=True)
    settle(draft, after, state_kept=parts.adaptation.method.trains != "everything")


def _copy(source: Path, draft: Path, name: str) -> None:
    if (source / name).is_dir():
        (draft / name).parent.mkdir(exist_ok=True)
        shutil.copytree(source / name, draft / ".copied")
        place_known(draft, draft / ".copied", name)
