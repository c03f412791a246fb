"""The same work through continual: whole runs, with everything that they write down."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from work import ALPHA, CLIP, RANK, RATE, Tasks, Work

from continual import run
from continual.adapters import attach, configure
from continual.backbone import load_backbone
from continual.runs.progress import Reporter
from continual.scenario import RowsSource, Scenario, Task


class Watch(Reporter):
    """Takes the time after every optimiser step."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def note(self, text: str) -> None:
        """Say nothing."""

    def step(self, what: str, done: int, total: int) -> None:
        """Look at the clock where a step of training is made."""
        if ": learning" in what:
            self.stamps.append(time.perf_counter())

    def learned(self, run: str, done: int, total: int, score: str, text: str) -> None:
        """Say nothing."""

    def runs(self, working: Sequence[str], *, waiting: int, done: int, failed: int) -> None:
        """There is no study."""

    def close(self) -> None:
        """Nothing was opened."""


def scenario(work: Work, tasks: Tasks) -> Scenario:
    """Return texts as a sequence of tasks."""
    return Scenario(
        name="peers",
        setting="task-incremental",
        tasks=tuple(_task(work, f"task-{k}", train, test) for k, (train, test) in enumerate(tasks)),
    )


def _task(work: Work, name: str, train: list[str], test: list[str]) -> Task:
    if work.family == "causal-lm":
        return Task(
            name=name,
            kind="language-modeling",
            train=RowsSource(rows=[{"text": text} for text in train]),
            test=RowsSource(rows=[{"text": text} for text in test]),
        )
    return Task(
        name=name,
        kind="text-classification",
        prompt="{text}",
        labels=("even", "odd"),
        train=RowsSource(rows=_labelled(train)),
        test=RowsSource(rows=_labelled(test)),
    )


def _labelled(texts: list[str]) -> list[dict[str, str]]:
    return [{"text": text, "label": ("even", "odd")[k % 2]} for k, text in enumerate(texts)]


def settings(work: Work, steps: int) -> dict:
    """Return what every system does."""
    return {
        "train": {
            "batch_size": work.batch,
            "micro_batch_size": work.batch,
            "max_steps": steps,
            "epochs": 1000,
            "lr": RATE,
            "clip": CLIP,
            "schedule": "constant",
            "warmup": 0.0,
        },
        "method": {"rank": RANK, "alpha": ALPHA, "targets": work.targets},
        "evaluation": {"policy": "lower", "batch_size": 32},
        "backbone": {"max_length": work.length},
    }


def train(
    work: Work, texts: list[str], steps: int, folder: Path, *, compiled: bool = False
) -> list[float]:
    """Train; return the clock after every step."""
    watch, wanted = Watch(), settings(work, steps)
    wanted["train"] |= {"compile": compiled}
    run(
        scenario(work, [(texts, texts[: work.batch])]),
        "lora",
        out=folder / "run",
        backbone=str(work.folder),
        settings=wanted,
        reporter=watch,
    )
    return watch.stamps


def evaluation(work: Work, texts: list[str], folder: Path) -> Callable[[], object]:
    """Return what evaluates texts that are tokenized already."""
    del folder
    (task,) = scenario(work, [(texts[: work.batch], texts)]).tasks
    backbone = load_backbone(str(work.folder), max_length=work.length)
    adaptation = attach(
        backbone.model,
        "lora",
        configure("lora", {"rank": RANK, "alpha": ALPHA}),
        targets=work.targets,
        model_type=backbone.model_type,
    )
    adaptation.begin_task(0)
    test = backbone.encode(task, task.load().test)
    return lambda: backbone.score(task, test, None, 32)


def sequence(work: Work, tasks: Tasks, steps: int, folder: Path) -> None:
    """Learn one task after another with an adapter each; test all so far after each."""
    run(
        scenario(work, tasks),
        "per-task",
        out=folder / "run",
        backbone=str(work.folder),
        settings=settings(work, steps),
    )
