"""One run: scenario × method × backbone × seed, assembled, trained, observed and written down.

Everything that can be wrong with the input is found before the run directory is created. The same
call on an existing directory continues it, and on a finished one returns what it holds.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.processes import ALONE, Processes, together
from continual.records import RunRecord
from continual.records.directory import find_run, moved_data
from continual.records.lock import locked
from continual.records.paths import COMPLETE
from continual.runs.carrying_out import carry_out
from continual.runs.config import RunConfig
from continual.runs.damage import check_whole, damage_notes, mend, mended_alone
from continual.runs.faults import Standing, told
from continual.runs.follower import SAME
from continual.runs.parts import Parts, load_parts
from continual.runs.progress import Reporter, SilentReporter
from continual.runs.settings import resolve
from continual.runs.sharding import check_shard
from continual.runs.signals import stoppable
from continual.scenario import Scenario, load_scenario, with_data
from continual.training.stopping import Halt

FREE = ("data", "fork")  # data may move; how a run was forked is not asked again


def run(
    scenario: Scenario | str | Path,
    method: str,
    *,
    out: str | Path,
    backbone: str | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    reporter: Reporter | None = None,
) -> RunRecord:
    """Train one method on one scenario and write down what it retains; or continue doing so.

    Args:
        scenario: a scenario, the name of one of the catalogue, or a YAML file.
        method: a name of ``continual list methods``.
        out: the run directory; created, continued, or, if finished, only read.
        backbone: an embedded backbone, a hub id or a path; left out: the scenario's default.
        seed: of data order, initialisation and dropout.
        settings: ``{"train": {"epochs": 2}, "method": {"rank": 4}, ...}``, as ``--set`` takes.
        data: a folder with the scenario's data, laid out as ``with_data`` says; left out: the
            scenario's own sources. A run may go on with the same data under another path.
        reporter: is told how it gets on; left out: nobody is.

    Returns:
        The finished record.

    Raises:
        InputError: something given cannot be used, ``out`` holds another run or is in use by
            another process; nothing written. Or not even one example fits in memory.
        StoppedError: SIGINT or SIGTERM; what was learned is saved and the same call continues it.
        NonFiniteLossError: training diverged; the directory can be continued.
        DamagedRunError: the directory holds checkpoints and none can be read.
        DamagedFileError: another file of it is not what was written, and cannot be made anew.
        OSError: the directory cannot be written any more; a note says how to go on.
    """
    with together() as processes:
        tell = reporter if reporter is not None and processes.first else SilentReporter()
        found = scenario if isinstance(scenario, Scenario) else load_scenario(str(scenario))
        found = found if data is None else with_data(found, data)
        config, options = resolve(
            found, method, backbone=backbone, seed=seed, settings=settings or {}
        )
        check_shard(config, processes)
        return proceed(found, config, options, Path(out), tell, processes)


def proceed(
    found: Scenario,
    config: RunConfig,
    options: Any,
    folder: Path,
    tell: Reporter,
    processes: Processes = ALONE,
) -> RunRecord:
    """Begin or continue a resolved run; see ``run``."""
    finished = _finished(folder, config, tell)
    asked = [str(folder), config.model_dump(mode="json"), finished]
    processes.check_same("the runs", asked, SAME)
    if finished:
        return RunRecord.open(folder)
    halt = Halt(processes)
    with tell, _owned(folder, processes), stoppable(halt):
        # Another process may have finished it since we looked.
        if not processes.gather(_finished(folder, config, tell))[0]:
            with told(folder, standing := Standing(found)):
                parts = _load(found, config, options, folder, tell, processes)
                carry_out(found, config, parts, folder, tell, halt, standing, processes)
        processes.wait()  # for the last file
    return RunRecord.open(folder)


@contextmanager
def _owned(folder: Path, processes: Processes) -> Iterator[None]:
    """Own the directory, for all processes of the run by the first of them."""
    with locked(folder) if processes.first else nullcontext():
        processes.wait()
        yield


def _finished(folder: Path, config: RunConfig, tell: Reporter) -> bool:
    """Say whether there is nothing to do, because the run has reached its end and is whole."""
    broken = check_whole(folder)
    there = find_run(folder, config.model_dump(mode="json"), free=FREE)
    if there is None or not there.complete or broken:
        return False
    tell.note(f"{folder}: finished before; nothing to do.")
    return True


def _load(
    scenario: Scenario,
    config: RunConfig,
    options: Any,
    folder: Path,
    tell: Reporter,
    processes: Processes,
) -> Parts:
    """Load the run's parts, and mend what is damaged in its directory and can be."""
    try:
        parts = load_parts(scenario, config, options, tell, folder, processes)
        if broken := [one for one in check_whole(folder) if one.name != COMPLETE]:
            if processes.count > 1:
                raise mended_alone(folder, broken[0], sharded=config.backbone_options.shard)
            spare = load_parts(scenario, config, options, tell, folder)
            for note in damage_notes(mend(folder, scenario, config, spare)):
                tell.note(f"{folder}: {note}")
    except InputError as error:
        raise InputError(f"{error}\n{moved_data(folder, config.data)}".strip()) from error
    return parts
