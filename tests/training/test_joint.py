"""All tasks at once: the control that cannot forget."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from continual.errors import InputError
from continual.metrics import scores
from continual.runs.assemble import run
from continual.scenario import load_scenario
from continual.training.lesson import prepare
from continual.training.loop import learn
from tests.sequences import QUICK, small_scenario
from tests.training.learners import learner


def test_every_batch_of_every_task_comes_once():
    """In a random order, the batches of one task in its own order."""
    parts = learner(scenario=small_scenario(3), joint=True, epochs=2)
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[2], 0
    )
    found = [course.portions(step) for step in range(course.steps)]
    turns = [portions[0].lesson.index for portions in found]

    assert course.steps == sum(plan.steps for plan in course.plans) == 18
    assert Counter(turns) == {0: 6, 1: 6, 2: 6}
    assert turns != sorted(turns)
    for j in range(3):
        rows = np.concatenate([p[0].chosen for p in found if p[0].lesson.index == j])
        assert Counter(rows.tolist()) == dict.fromkeys(range(len(course.lessons[j].encoded)), 2)


def test_classes_of_all_tasks_compete():
    """In the class-incremental setting local classes would never tell tasks apart."""
    parts = learner(scenario=load_scenario("split-digits"), backbone="tiny-vit", joint=True)
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[4], 0
    )

    assert {len(lesson.candidates.labels) for lesson in course.lessons} == {10}
    assert not any(lesson.current_only for lesson in course.lessons)


def test_only_the_end_is_observed():
    """Nothing is trained before the last experience."""
    seen = []
    parts = learner(scenario=small_scenario(3), joint=True)
    learning = replace(parts, observe=lambda i, step: seen.append((i, step)))

    assert list(learn(learning)) == [2]
    assert seen == [(-1, 0), (2, 9)]


def test_the_run_has_one_row_of_r(tmp_path):
    """And scores that need more say so by being absent."""
    record = run(small_scenario(2), "joint", out=tmp_path / "r", settings=QUICK)
    R = record.matrix()

    assert record.complete
    found = scores(R, record.baseline())
    assert np.isnan(R[0]).all()
    assert np.isfinite(R[1]).all()
    assert found["average_accuracy"] == R[1].mean()
    assert found["forgetting.chaudhry2018"] is found["learning_accuracy"] is None


def test_early_stop_has_no_single_task_to_watch(tmp_path):
    """Refused before anything is written."""
    with pytest.raises(InputError, match="joint learns them all"):
        run(
            small_scenario(2),
            "joint",
            out=tmp_path / "r",
            settings={"train": {"early_stop": 1}},
        )
    assert not (tmp_path / "r").exists()
