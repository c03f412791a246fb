"""One run: scenario × method × backbone × seed, assembled, trained, observed and written down.

Everything that can be wrong with the input is found before the run directory is created. The same
call on an existing directory continues it, and on a finished one returns what it holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from continual.adapters import Adaptation
from continual.backbone import Backbone, load_backbone
from continual.records import RunRecord, flatten
from continual.runs.attaching import attach_method
from continual.runs.config import RunConfig
from continual.runs.environment import describe_environment
from continual.runs.progress import Reporter, SilentReporter
from continual.runs.directory import open_directory
from continual.runs.recorder import Recorder
from continual.runs.settings import resolve
from continual.scenario import Scenario, load_scenario
from continual.trackers.board import Board
from continual.trackers.cost import Meter
from continual.trackers.memory import BatchSize
from continual.trackers.perplexity import PerplexityDrift
from continual.trackers.retained import RetainedAccuracy
from continual.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from continual.training.ewc import ElasticWeights
from continual.training.loop import learn
from continual.training.rehearsal import Memory
from continual.training.step import Learner


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A run's loaded parts, and the facts about them that ``environment.json`` records."""

    backbone: Backbone
    adaptation: Adaptation
    facts: Mapping[str, Any]


def run(
    scenario: Scenario | str | Path,
    method: str,
    *,
    out: str | Path,
    backbone: str | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
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
        reporter: is told how it gets on; left out: nobody is.

    Returns:
        The finished record.

    Raises:
        InputError: something given cannot be used, or ``out`` holds another run; nothing written.
        NonFiniteLossError: training diverged; the directory can be continued.
        DamagedRunError: the directory holds checkpoints and none can be read.
    """
    tell = reporter or SilentReporter()
    found = scenario if isinstance(scenario, Scenario) else load_scenario(str(scenario))
    config, options = resolve(found, method, backbone=backbone, seed=seed, settings=settings or {})
    folder = Path(out)
    finished = open_directory(folder, config)
    if finished is not None:
        tell.note(f"{folder}: finished before; nothing to do.")
        return finished
    with tell:
        parts = _load(found, config, options, tell)
        _go(found, config, parts, folder, tell)
    return RunRecord.open(folder)


def _load(scenario: Scenario, config: RunConfig, options: Any, tell: Reporter) -> Parts:
    """Load data and backbone and attach the method; nothing has been written yet."""
    data, versions, warnings = {}, {}, []
    for k, task in enumerate(scenario.tasks):
        tell.step(f"{config.method}: loading {task.name}", k, len(scenario.tasks))
        loaded = task.load()
        data[task.name] = loaded.fingerprint
        versions |= loaded.versions
        warnings += loaded.warnings
    tell.step(f"{config.method}: loading {config.backbone}", 0, 1)
    chosen = config.backbone_options
    backbone = load_backbone(
        config.backbone,
        dtype=chosen.dtype,
        device=chosen.device,
        attention=chosen.attention,
        trust_remote_code=chosen.trust_remote_code,
        max_length=chosen.max_length,
        heads=chosen.heads,
    )
    adaptation = attach_method(backbone, config, options)
    facts = {
        "data": data,
        "data_versions": versions,
        "data_warnings": warnings,
        "probes": {probe.name: probe.load().fingerprint for probe in scenario.probes},
        "backbone": {
            "name": config.backbone,
            "family": backbone.family,
            "fingerprint": backbone.fingerprint(),
        },
    }
    return Parts(backbone=backbone, adaptation=adaptation, facts=facts)


def _recorder(
    scenario: Scenario, config: RunConfig, parts: Parts, folder: Path, tell: Reporter
) -> Recorder:
    """Return the writing side of the run, with the trackers that it asks."""
    checks = config.evaluation
    batch_size = BatchSize(checks.batch_size, tell.note)
    retained = RetainedAccuracy(
        scenario,
        parts.backbone,
        parts.adaptation,
        batch_size=batch_size,
        tick=lambda name, k, n: tell.step(f"{config.method}: evaluating {name}", k, n),
        policy=checks.policy,
        every=checks.every,
        sample=checks.sample,
    )
    drift = PerplexityDrift(
        scenario,
        parts.backbone,
        parts.adaptation,
        window=checks.probe_window,
        stride=checks.probe_stride or checks.probe_window,
        batch_size=batch_size,
        tick=lambda name, k, n: tell.step(f"{config.method}: reading {name}", k, n),
    )
    board = None
    if config.tracking != "none":
        board = Board(config.tracking, folder, flatten(config.model_dump(mode="json"), ""))
    return Recorder(
        folder=folder,
        scenario=scenario,
        config=config,
        backbone=parts.backbone,
        adaptation=parts.adaptation,
        retained=retained,
        drift=drift,
        board=board,
        meter=Meter(parts.backbone.device),
    )


def _go(scenario: Scenario, config: RunConfig, parts: Parts, folder: Path, tell: Reporter) -> None:
    """Evaluate, train, evaluate, ... and mark the directory complete."""
    resumed, complaints = load_checkpoint(folder / "checkpoints")
    for complaint in complaints:
        tell.note(f"warning: {complaint}")
    recorder = _recorder(scenario, config, parts, folder, tell)
    recorder.begin(describe_environment() | dict(parts.facts), resumed)
    if resumed is not None:
        at = resumed.position
        tell.note(
            f"{folder}: continuing at experience {at.experience}, step {at.step} ({at.phase})."
        )
    learner = Learner(
        scenario=scenario,
        backbone=parts.backbone,
        adaptation=parts.adaptation,
        config=config.train,
        lr=float(config.train.lr or 0.0),
        seed=config.seed,
        lwf=config.lwf,
        memory=Memory(config.rehearsal, config.seed),
        elastic=ElasticWeights(config.ewc),
        save=lambda checkpoint: _save(folder, checkpoint),
        log=recorder.log,
        observe=recorder.observe,
        within=config.evaluation.steps,
        observe_within=recorder.observe_within,
        count=recorder.meter.count,
        pace=recorder.meter.pace,
        tick=lambda i, done, n: tell.step(
            f"{config.method}: learning {scenario[i].task.name}", done, n
        ),
    )
    for i in learn(learner, resumed):
        tell.note(recorder.summary(i))
    recorder.finish()


def _save(folder: Path, checkpoint: Checkpoint) -> None:
    save_checkpoint(folder / "checkpoints", checkpoint)
