"""Our scenarios as Avalanche benchmarks, trained by Avalanche itself."""

import numpy as np
import pytest
import torch
from torch import nn

from continual._torchvision import ensure_torchvision
from continual.errors import InputError
from continual.interop.avalanche import to_benchmark
from continual.scenario import RowsSource, Scenario, Task, split_by_class


def pictures(labels: list[str], each: int, seed: int) -> list[dict]:
    """8 × 8 pictures whose bright column tells the label."""
    rng = np.random.default_rng(seed)
    rows = []
    for label in labels * each:
        image = rng.random((8, 8)).astype(np.float32) * 0.3
        image[:, int(label)] += 0.7
        rows.append({"image": image.tolist(), "label": label})
    return rows


def digits(setting: str) -> Scenario:
    """Four classes in two tasks."""
    names = ["0", "1", "2", "3"]
    task = Task(
        name="bars",
        kind="image-classification",
        train=RowsSource(rows=pictures(names, 12, 0)),
        test=RowsSource(rows=pictures(names, 5, 1)),
        labels=tuple(names),
    )
    tasks = split_by_class(task, 2, order=["3", "0", "2", "1"])
    return Scenario(name="bars", tasks=tasks, setting=setting)


@pytest.mark.parametrize(
    ("setting", "classes", "task_labels"),
    [
        ("class-incremental", [{0, 1}, {2, 3}], [0, 0]),
        ("task-incremental", [{0, 1}, {0, 1}], [0, 1]),
    ],
)
def test_classes_and_task_labels_follow_the_setting(setting, classes, task_labels):
    """Global ids where heads are shared, local ids and a task label where they are not."""
    benchmark = to_benchmark(digits(setting))

    for stream in (benchmark.train_stream, benchmark.streams["validation"], benchmark.test_stream):
        assert [set(experience.dataset.targets) for experience in stream] == classes
        assert [experience.task_label for experience in stream] == task_labels


def test_items_are_our_examples():
    """Pictures, classes and order are those of our own runs."""
    scenario = digits("class-incremental")
    benchmark = to_benchmark(scenario)

    for experience, ours in zip(benchmark.test_stream, scenario, strict=True):
        split = ours.task.load().test
        assert len(experience.dataset) == len(split) == 10
        for item, example in zip(experience.dataset, split, strict=True):
            image, target, task_label = item
            assert torch.equal(image, torch.tensor(example.image)[None])
            assert ["3", "0", "2", "1"][target] == ours.task.labels[example.label]
            assert task_label == 0


def test_avalanche_trains_and_evaluates_on_it():
    """Naive fine-tuning learns the bars of each task."""
    ensure_torchvision()
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.supervised import Naive

    torch.manual_seed(0)
    benchmark = to_benchmark(digits("class-incremental"))
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    strategy = Naive(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=0.05),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=8,
        train_epochs=10,
        eval_mb_size=8,
        evaluator=EvaluationPlugin(accuracy_metrics(experience=True), loggers=[]),
    )

    for i, experience in enumerate(benchmark.train_stream):
        strategy.train(experience)
        results = strategy.eval(benchmark.test_stream)
        learned = [value for key, value in results.items() if f"Exp{i:03d}" in key]
        assert learned == [1.0]


def test_text_tasks_are_dicts_of_strings():
    """Batches are dicts of lists, for a template that tokenizes."""
    rows = [{"text": "1 + 1", "label": "sum"}, {"text": "2 - 1", "label": "difference"}]
    scenario = Scenario.from_lists("arithmetic", [("signs", rows, rows), ("again", rows, rows)])
    benchmark = to_benchmark(scenario)
    experience = next(iter(benchmark.test_stream))

    batch = experience.dataset.collate_fn([experience.dataset[0], experience.dataset[1]])

    assert sorted(batch["text"]) == ["1 + 1\nAnswer:", "2 - 1\nAnswer:"]
    assert sorted(batch["target"]) == ["difference", "sum"]
    assert sorted(batch["label"]) == [0, 1]
    assert batch["targets_task_labels"] == [0, 0]


def test_pictures_and_text_do_not_mix():
    """The message says what to do."""
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]
    text = Scenario.from_lists("t", [("words", rows, rows)]).tasks
    mixed = Scenario(name="mixed", tasks=(*digits("task-incremental").tasks, *text))

    with pytest.raises(InputError, match="one form of items; 'mixed' has"):
        to_benchmark(mixed)
