"""A run that goes on from the middle of another one, with the same method or another.

With the same method and method options the run's own state is carried on: with the same settings
the fork ends with the bytes of the run that it was forked from. Another method begins on the
backbone with everything merged in that was learned so far; heads keep what they learned, and
rehearsal draws its memory anew from the training data of the earlier tasks.
"""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.records import RunRecord
from continual.records.directory import FIXED, check_unchanged, find_run
from continual.records.files import DamagedFileError, flush_folder
from continual.records.paths import RUN
from continual.runs.assemble import FREE, proceed
from continual.runs.config import ForkOrigin, RunConfig
from continual.runs.damage import check_whole
from continual.runs.forked import STATE, check_carried, forked_config, origin_config, scenario_of
from continual.runs.forking import add_stage, fresh_state, memory_after, write
from continual.runs.parts import load_parts
from continual.runs.progress import Reporter, SilentReporter
from continual.runs.stages import STAGES
from continual.scenario import Scenario
from continual.training.checkpoint import Checkpoint, boundary_state


def fork(
    directory: str | Path,
    *,
    after: int,
    method: str,
    out: str | Path,
    scenario: Scenario | str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    reporter: Reporter | None = None,
) -> RunRecord:
    """Start a run from the state of another one after an experience, and make it to its end.

    The first ``after + 1`` experiences of the new run are those of the other: rows of R, examples
    and events are copied. The same call continues a fork that was interrupted, and so does ``run``
    with the same settings.

    Args:
        directory: the run to fork, finished or not.
        after: the last experience that is taken over, counted from 0.
        method: what learns from there on.
        out: the directory of the new run.
        scenario: of that run; left out: the one of that name in the catalogue.
        settings: as for ``run``, on top of the settings of the run that is forked. What makes a
            method what it is (its options, learning rate, rehearsal, penalties) is taken over with
            the same method only.
        data: a folder with the scenario's data; left out: that of the run.
        reporter: is told how it gets on.

    Returns:
        The finished record.

    Raises:
        InputError: something given cannot be used; nothing was written.
        DamagedFileError: a file of the run that is forked is not what was written.
    """
    tell, source, folder = reporter or SilentReporter(), Path(directory), Path(out)
    if source.resolve() == folder.resolve():
        raise InputError(f"a fork is a new run; give --out another directory than {source}.")
    record = RunRecord.open(source)
    _check_after(record, after)
    origin = origin_config(record)
    found = scenario_of(record, scenario, data)
    config, options = forked_config(found, origin, method, dict(settings or {}))
    _check_whole_backbone(record, config)
    carries = STATE if _same(config, origin) else "merged weights"
    fork_of = ForkOrigin(source=str(source), after=after, method=record.method, carries=carries)
    config = config.model_copy(update={"fork": fork_of})
    if find_run(folder, config.written(), free=FREE) is None:
        state = _state(record, after)
        check_carried(origin, config)
        _prepare(source, folder, found, (origin, config), options, state, tell)
    else:
        _check_same_fork(folder, fork_of)
    return proceed(found, config, options, folder, tell)


def _same(config: RunConfig, origin: RunConfig) -> bool:
    """Say whether the method can go on with its own state."""
    mine, theirs = config.written(), origin.written()
    return all(mine[key] == theirs[key] for key in ("method", "method_options", "targets"))


def _check_whole_backbone(record: RunRecord, config: RunConfig) -> None:
    """Raise ``InputError`` where a fork would have to split the backbone among processes."""
    if config.backbone_options.shard:
        raise InputError(
            f"{record.path} was made with backbone.shard, and a fork is made by one process, which "
            "cannot split the backbone and keeps it as it was loaded. `continual export` merges "
            "what was learned into a model, which a new run takes with --backbone."
        )


def _check_after(record: RunRecord, after: int) -> None:
    """Raise ``InputError`` where a run has no such experience, or no states of its own."""
    last = len(record.tasks) - 2
    if not 0 <= after <= last:
        raise InputError(
            f"--after {after}: {record.path} has {len(record.tasks)} experiences, so a fork can "
            f"begin after 0 to {last}; after the last one nothing is left to learn."
        )
    if "learns" in record.config:
        raise InputError(
            f"{record.path} was recorded beside somebody else's training, which keeps its states "
            "itself; there is nothing to fork."
        )


def _state(record: RunRecord, after: int) -> Checkpoint:
    """Return the state after an experience.

    Raises:
        InputError: it is not finished, or its state is not kept.
        DamagedFileError: other files of the run are damaged.
    """
    broken = check_whole(record.path)
    if broken:
        raise DamagedFileError(
            f"{record.path} has damaged files that it can write anew: "
            f"{', '.join(one.name for one in broken)}. Run it again first, then fork it."
        )
    folder = record.path / "checkpoints"
    state = boundary_state(folder, after)
    if state is not None:
        return state
    kept = [k for k in range(len(record.tasks) - 1) if boundary_state(folder, k) is not None]
    done = max((row.experience for row in record.score_rows), default=-1)
    if after > done:
        raise InputError(
            f"{record.path} has not finished experience {after} yet; continue it first. A fork can "
            f"begin after {kept or 'none'}."
        )
    raise InputError(
        f"{record.path} keeps no state after experience {after} (full fine-tuning keeps none but "
        f"the newest, older versions neither); there is one after {kept or 'none'}. The weights of "
        f"that moment are in adapters/after-{after:02d}: `continual export` merges them, and a new "
        "run takes them with --backbone."
    )


def _prepare(
    source: Path,
    folder: Path,
    scenario: Scenario,
    configs: tuple[RunConfig, RunConfig],
    options: Any,
    state: Checkpoint,
    tell: Reporter,
) -> None:
    """Make the new directory under a draft's name, and give it its own once it is whole."""
    origin, config = configs
    draft = folder.with_name(f".{folder.name}.forking")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        if (source / STAGES).is_dir():
            shutil.copytree(source / STAGES, draft / STAGES)
        with tell:
            if config.fork is not None and config.fork.carries == STATE:
                parts = load_parts(scenario, config, options, tell, draft)
                if config.rehearsal != origin.rehearsal:
                    memory = memory_after(scenario, config, state.position.experience)
                    state = replace(state, facts={**state.facts, "memory": memory})
            else:
                add_stage(draft, origin, state)
                parts = load_parts(scenario, config, options, tell, draft)
                state = fresh_state(scenario, config, parts, state)
        check_unchanged(source, parts.facts, (*FIXED, "backbone_revision"), data=config.data)
        write(source, draft, config, parts, state)
        if folder.exists():  # an empty directory, as find_run has seen
            shutil.rmtree(folder)
        draft.rename(folder)
        flush_folder(folder.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _check_same_fork(folder: Path, wanted: ForkOrigin) -> None:
    """Raise ``InputError`` where the directory holds another fork, or none."""
    there = origin_config(RunRecord.open(folder)).fork
    told = None if there is None else there.model_dump(exclude={"source"})
    if told != wanted.model_dump(exclude={"source"}):
        raise InputError(
            f"{folder / RUN} is of another fork ({told or 'none'}); give --out a new directory."
        )
