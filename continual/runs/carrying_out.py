"""Carrying a run out: its parts are loaded, its directory is owned; evaluate, train, write down."""

from contextlib import nullcontext
from pathlib import Path

from continual.backbone.blocks import Compiled
from continual.backbone.memory import BatchSize
from continual.processes import Processes
from continual.records import flatten, mark_complete
from continual.records.environment import describe_environment
from continual.runs.config import RunConfig
from continual.runs.faults import Standing
from continual.runs.follower import Follower, check_start
from continual.runs.parts import Parts
from continual.runs.progress import Reporter
from continual.runs.recorder import Recorder
from continual.scenario import Scenario
from continual.trackers.board import Board
from continual.trackers.cost import Meter
from continual.trackers.ledger import Ledger
from continual.trackers.perplexity import PerplexityDrift
from continual.trackers.retained import RetainedAccuracy
from continual.training.checkpoint import load_checkpoint
from continual.training.ewc import ElasticWeights
from continual.training.loop import learn
from continual.training.rehearsal import Memory
from continual.training.state import micro_batches
from continual.training.step import Learner
from continual.training.stopping import Halt


def _recorder(
    scenario: Scenario,
    config: RunConfig,
    parts: Parts,
    folder: Path,
    tell: Reporter,
    standing: Standing,
    processes: Processes,
) -> Recorder | Follower:
    """Return the writing side of the run, with the trackers that it asks."""
    checks = config.evaluation
    batch_size = BatchSize(checks.batch_size, tell.note, processes=processes)
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
    if not processes.first:
        return Follower(retained, drift, parts.adaptation, processes, parts.backbone, standing)
    board, cpu = None, parts.backbone.device.type == "cpu"
    if config.tracking != "none":
        board = Board(config.tracking, folder, flatten(config.model_dump(mode="json"), ""), cpu=cpu)
    return Recorder(
        folder=folder,
        scenario=scenario,
        config=config,
        backbone=parts.backbone,
        adaptation=parts.adaptation,
        ledger=Ledger(folder, retained, drift),
        board=board,
        meter=Meter(parts.backbone.device),
        standing=standing,
        processes=processes,
    )


def carry_out(
    scenario: Scenario,
    config: RunConfig,
    parts: Parts,
    folder: Path,
    tell: Reporter,
    halt: Halt,
    standing: Standing,
    processes: Processes,
) -> None:
    """Evaluate, train, evaluate, ... and mark the directory complete."""
    resumed, complaints = load_checkpoint(folder / "checkpoints")
    check_start(parts.facts, resumed, processes)
    for complaint in complaints:
        tell.note(f"warning: {complaint}")
    recorder = _recorder(scenario, config, parts, folder, tell, standing, processes)
    several = {"processes": processes.count} if processes.count > 1 else {}
    recorder.begin(describe_environment() | dict(parts.facts) | several, resumed)
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
        micro_batch=micro_batches(config.train, tell.note),
        halt=halt,
        save=recorder.save,
        log=recorder.log,
        observe=recorder.observe,
        within=config.evaluation.steps,
        observe_within=recorder.observe_within,
        count=recorder.meter.count,
        pace=recorder.meter.pace,
        tick=lambda i, done, n: tell.step(
            f"{config.method}: learning {scenario[i].task.name}", done, n
        ),
        searching=lambda i, done, n: tell.step(
            f"{config.method}: searching for {scenario[i].task.name}", done, n
        ),
        around=Compiled(parts.backbone.model).in_use if config.train.compile else nullcontext,
        processes=processes,
    )
    before = 0 if resumed is None else resumed.position.learned()
    tell.learned(config.method, before, len(scenario), "", "")
    try:
        for i in learn(learner, resumed):
            score, text = recorder.score(i), recorder.summary(i)
            tell.learned(config.method, i + 1, len(scenario), score, text)
        if processes.first:
            mark_complete(folder)
    finally:
        recorder.close()
