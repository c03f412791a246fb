"""What a run records of single examples, summed up by scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from continual.runs.assemble import run
from continual.scenario import load_scenario

QUICK = {"train": {"max_steps": 3, "batch_size": 8}, "evaluation": {"sample": 40}}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """Two tasks of digits, three steps each."""
    scenario = load_scenario("split-digits")[:2]
    return run(scenario, "lora", out=tmp_path_factory.mktemp("run") / "run", settings=QUICK)


def test_accuracy_is_scikit_learns_over_the_recorded_predictions(record):
    """Recomputed from the predictions and the labels of the data."""
    scenario = load_scenario("split-digits")[:2]
    for j, task in enumerate(scenario.tasks):
        test = task.load().test
        truth = dict(zip(test.column("id"), test.column("label"), strict=True))
        rows = [row for row in record.examples() if (row.experience, row.task) == (1, task.name)]
        labels = [task.labels[truth[row.id]] for row in rows]
        said = [row.prediction for row in rows]

        assert accuracy_score(labels, said) == pytest.approx(record.matrix()[1, j])


def test_nats_are_scikit_learns_log_loss(record):
    """-log p of the truth is the loss of two outcomes with that probability."""
    rows = [row for row in record.examples() if row.experience == 1]
    right = np.exp([-row.nats for row in rows])
    probabilities = np.column_stack([1 - right, right])
    expected = log_loss(np.ones(len(rows)), probabilities, labels=[0, 1], normalize=False)
    recorded = sum(
        row.value * row.n
        for row in record.score_rows
        if (row.experience, row.metric) == (1, "nats_per_token")
    )

    assert recorded == pytest.approx(expected, rel=1e-6)
