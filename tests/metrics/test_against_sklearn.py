"""What a run records of single examples, summed up by scikit-learn."""

import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss

from continual.backbone import load_backbone
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


def test_nats_are_scikit_learns_log_loss(tmp_path):
    """Of the probabilities that the heads give, asked for apart from the scoring."""
    backbone = load_backbone("tiny-vit")
    scenario = load_scenario("split-digits")[:1]
    task, candidates = scenario.tasks[0], scenario.candidates(0, 0)
    backbone.begin_experience(candidates, 0)
    encoded = backbone.encode(task, task.load().test)
    with torch.inference_mode():
        answers = backbone.answers(encoded.batch(range(len(encoded))), candidates, False, ())
    scored = backbone.score(task, encoded, candidates, 7)

    expected = log_loss(answers.truth, answers.logits.double().softmax(-1), normalize=False)
    assert sum(one.nats for one in scored) == pytest.approx(expected, rel=1e-5)
