"""Run directories made with the write side of the records room, without any training."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from continual.records import (
    ExampleRow,
    ScoreRow,
    append_event,
    mark_complete,
    write_examples,
    write_scores,
)

LAYERS = tuple(f"model.layers.{k}.self_attn.q_proj" for k in range(8))
TASKS = ("news", "reviews-of-long-running-products", "questions")
LEARNED = {
    "lora": 0.78,
    "curlora": 0.70,
    "frozen": 0.32,
    "head-only": 0.5,
    "joint": 0.8,
    "per-task": 0.8,
}
LOSS_PER_TASK = {"lora": 0.16, "curlora": 0.03}


def _scores(method: str, tasks: Sequence[str], seed: int, probe: str | None) -> list[ScoreRow]:
    noise = np.random.default_rng([seed, len(method)])
    rows = []
    for i in range(-1, len(tasks)):
        step = 50 * (i + 1)
        for j, task in enumerate(tasks):
            value = 0.3 + 0.02 * j
            if j <= i:
                value = LEARNED.get(method, 0.6) - LOSS_PER_TASK.get(method, 0.0) * (i - j)
            value = float(np.clip(value + noise.normal(0, 0.015 if i >= 0 else 0.0), 0, 1))
            rows.append(
                ScoreRow(experience=i, step=step, task=task, metric="accuracy", value=value, n=200)
            )
            if i == -1:
                rows.append(
                    ScoreRow(experience=-1, step=0, task=task, metric="majority", value=0.34, n=200)
                )
        if i >= 0:
            rows += [
                ScoreRow(
                    experience=i, step=step, task=layer, metric="change_norm", value=0.01, n=64
                )
                for layer in LAYERS
            ]
        if probe is not None:
            rate = LOSS_PER_TASK.get(method, 0.0)
            nats = 3.1 + 0.9 * rate * (i + 1) + (noise.normal(0, 0.01) if rate and i >= 0 else 0.0)
            for metric, value in (("probe_nats", nats), ("probe_bytes", nats / 2.9)):
                rows.append(
                    ScoreRow(
                        experience=i,
                        step=step,
                        task=probe,
                        metric=metric,
                        value=float(value),
                        n=5000,
                    )
                )
    return rows


def _examples(tasks: Sequence[str], seed: int) -> list[ExampleRow]:
    noise = np.random.default_rng([seed, 7])
    rows = []
    for i in range(len(tasks)):
        for j, task in enumerate(tasks[: i + 1]):
            for k in range(12):
                right = k % 4 != 0 if i == j else bool(noise.random() > 0.2 * (i - j) + 0.1)
                rows.append(
                    ExampleRow(
                        experience=i,
                        task=task,
                        id=f"{j}{k:015x}",
                        prediction="sports" if right else "<b>business</b>",
                        correct=float(right),
                        nats=0.2 if right else 1.5 + float(noise.random()),
                    )
                )
    return rows


def _boundary(i: int, seed: int) -> dict[str, Any]:
    """The event at the end of an experience, with its costs and layers' norms."""
    return {
        "experience": i,
        "step": 50 * (i + 1),
        "seconds": 9.0 * (i + 2) + seed,
        "training_seconds": 6.0 if i >= 0 else 1.0,
        "evaluation_seconds": 3.0,
        "training_tokens": 5000 + 900 * seed if i >= 0 else 0,
        "peak_memory_bytes": int(9e8 + 4e8 * seed),
        "energy_kwh": 0.0002,
        "trained_numbers": 12288,
        "stored_numbers": 24576,
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes one run directory and returns its path."""

    def make(
        method: str = "lora",
        seed: int = 0,
        *,
        tasks: Sequence[str] = TASKS,
        scenario: str = "office",
        backbone: str = "tiny-lm",
        probe: str | None = "language-reference",
        probed: bool = True,
        reached: int | None = None,
        options: dict | None = None,
        environment: dict | None = None,
        examples: bool = True,
        costs: bool = False,
    ) -> Path:
        directory = (
            tmp_path / f"{scenario}-{backbone}-{method}-{seed}-{len(list(tmp_path.iterdir()))}"
        )
        directory.mkdir()
        config = {
            "scenario": scenario,
            "method": {"name": method, "rank": 8, **(options or {})},
            "backbone": backbone,
            "seed": seed,
            "setting": "task-incremental",
            "tasks": [
                {"name": task, "kind": "text-classification", "score": "accuracy"} for task in tasks
            ],
            "probes": [probe] if probe else [],
            "train": {"epochs": 2, "learning_rate": 0.001, "batch_size": 16},
        }
        (directory / "run.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
        written = {
            "versions": {"torch": "2.13.0", "continual": "0.1.0"},
            "fingerprints": {task: f"{abs(hash(j)):016x}" for j, task in enumerate(tasks)},
            "trained_numbers": 12288,
            "stored_numbers": 24576,
            "seconds": 41.5 + seed,
        }
        (directory / "environment.json").write_text(json.dumps({**written, **(environment or {})}))
        last = len(tasks) - 1 if reached is None else reached
        rows = _scores(method, tasks, seed, probe if probed else None)
        write_scores(directory, [row for row in rows if row.experience <= last])
        if examples:
            write_examples(directory, [r for r in _examples(tasks, seed) if r.experience <= last])
        for i in range(-1, last + 1) if costs else ():
            append_event(directory, _boundary(i, seed))
        if reached is None:
            mark_complete(directory)
        return directory

    return make
