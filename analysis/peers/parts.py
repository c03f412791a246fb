"""Evaluation and the data path, each beside the way it is usually done."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import ours
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from work import Work, texts

from continual import run
from continual.backbone import load_backbone
from continual.scenario import Candidates, RowsSource, Task

CLASSES = ("w1", "w2 w3", "w4 w5 w6", "w7 w8 w9 w10")
MIXED, SCORED, ITEMS, SIZE, STEPS = 256, 64, 2048, 32, 40


def _timed(call: Callable[[], object]) -> Callable[[], float]:
    def turn() -> float:
        began = perf_counter()
        call()
        return perf_counter() - began

    return turn


def _classes(work: Work, count: int, lengths: tuple[int, int]) -> Task:
    rows = [
        {"text": text, "label": CLASSES[k % len(CLASSES)]}
        for k, text in enumerate(texts(work, count, seed=7, lengths=lengths))
    ]
    return Task(
        name="mixed",
        kind="text-classification",
        prompt="{text}",
        labels=CLASSES,
        train=RowsSource(rows=rows[:8]),
        test=RowsSource(rows=rows),
    )


def evaluation_row(work: Work) -> dict[str, Callable[[], float]]:
    """Return what scores texts of many lengths, all at once and 32 as they come."""
    task = _classes(work, MIXED, (4, 400))
    backbone = load_backbone(str(work.folder), max_length=448)
    rows = list(task.load().test)
    candidates = _candidates(task)
    whole = backbone.encode(task, rows)
    parts = [backbone.encode(task, rows[k : k + SIZE]) for k in range(0, len(rows), SIZE)]

    def score(*splits: Any) -> None:
        for split in splits:
            backbone.score(task, split, candidates, SIZE)

    return {
        "continual, by length": _timed(lambda: score(whole)),
        "the same, batches as they come": _timed(lambda: score(*parts)),
    }


def grouping_row(work: Work, root: Path) -> dict[str, Callable[[], float]]:
    """Return what learns texts of many lengths, drawn freely and grouped by length."""
    corpus = texts(work, 10 * STEPS, seed=11, lengths=(4, 400))

    def learn(grouped: bool) -> None:
        settings = ours.settings(work, STEPS)
        settings["train"] |= {"group_by_length": grouped}
        settings["backbone"] = {"max_length": 448}
        with TemporaryDirectory(dir=root) as folder:
            run(
                ours.scenario(work, [(corpus, corpus[:2])]),
                "lora",
                out=Path(folder) / "run",
                backbone=str(work.folder),
                settings=settings,
            )

    return {
        "continual, as drawn": _timed(lambda: learn(False)),
        "continual, train.group_by_length": _timed(lambda: learn(True)),
    }


def scoring_row(work: Work) -> dict[str, Callable[[], float]]:
    """Return what says the classes of texts: by probability, and by writing."""
    task = _classes(work, SCORED, (60, 60))
    written = replace(task, score="exact_match")
    backbone = load_backbone(str(work.folder), max_length=448)
    encoded = backbone.encode(task, task.load().test)
    ids = torch.from_numpy(work_tokens(work, [row.text for row in task.load().test], 61))
    longest = max(len(name.split()) for name in CLASSES) + 1

    def generate() -> None:
        with torch.inference_mode():
            for k in range(0, len(ids), SIZE):
                part = ids[k : k + SIZE]
                backbone.model.generate(
                    input_ids=part,
                    attention_mask=torch.ones_like(part),
                    max_new_tokens=longest,
                    do_sample=False,
                )

    return {
        "continual, by probability": _timed(
            lambda: backbone.score(task, encoded, _candidates(task), SIZE)
        ),
        "continual, written": _timed(lambda: backbone.score(written, encoded, None, SIZE)),
        "transformers' generate": _timed(generate),
    }


def data_path_row(work: Work) -> dict[str, Callable[[], float]]:
    """Return what makes batches of eight out of tokenized texts, microseconds per example."""
    corpus = texts(work, ITEMS, seed=9)
    task = Task(
        name="path",
        kind="language-modeling",
        train=RowsSource(rows=[{"text": text} for text in corpus]),
        test=RowsSource(rows=[{"text": corpus[0]}]),
    )
    encoded = load_backbone(str(work.folder)).encode(task, task.load().train)
    count = len(encoded)  # a share of the rows is the validation split
    ids = work_tokens(work, corpus[:count], work.length)
    data = Dataset.from_dict({"input_ids": ids, "labels": ids}).with_format("torch")
    order = np.random.default_rng(0).permutation(count)
    batches = [order[k : k + 8] for k in range(0, count, 8)]
    loader = DataLoader(data, batch_size=8, shuffle=True)  # type: ignore[arg-type]

    def over(call: Callable[[], object]) -> Callable[[], float]:
        timed = _timed(call)
        return lambda: 1e6 * timed() / count

    return {
        "continual": over(lambda: [encoded.batch(chosen) for chosen in batches]),
        "datasets, eight at once": over(lambda: [data[chosen.tolist()] for chosen in batches]),
        "datasets in a DataLoader": over(lambda: list(loader)),
    }


def work_tokens(work: Work, corpus: list[str], length: int) -> np.ndarray:
    """Return token numbers of texts of one length."""
    return replace(work, length=length).tokens(corpus)


def _candidates(task: Task) -> Candidates:
    return Candidates(
        head=task.name,
        labels=task.class_names,
        texts=tuple(task.text_for(name) for name in task.class_names),
        current=tuple(range(len(task.class_names))),
    )
