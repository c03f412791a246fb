"""What is kept of earlier tasks, and what of it is learned again."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from continual.scenario import load_scenario
from continual.training.config import RehearsalConfig
from continual.training.lesson import prepare
from continual.training.loop import begin, learn
from continual.training.rehearsal import Memory
from tests.sequences import small_scenario
from tests.training.learners import learner


def memory(size: int, policy: str = "reservoir", seed: int = 0, **more: int) -> Memory:
    return Memory(RehearsalConfig(size=size, policy=policy, **more), seed)


def test_a_reservoir_keeps_every_example_with_the_same_chance():
    """Three tasks of unequal length, 600 seeds: each example within five standard errors."""
    counts = Counter()
    for seed in range(600):
        one = memory(10, seed=seed)
        for task, length in enumerate((12, 5, 23)):
            one.admit(task, [0] * length)
        assert len(set(one.kept)) == 10
        counts.update(one.kept)
    chance = 10 / 40
    error = (600 * chance * (1 - chance)) ** 0.5

    assert len(counts) == 40
    assert max(abs(count - 600 * chance) for count in counts.values()) < 5 * error


@pytest.mark.parametrize("size", [4, 7, 10, 31])
def test_balance_keeps_as_many_of_each_class(size):
    """However unequal the classes are: they differ by one at most, unless one has no more."""
    one = memory(size, "class-balanced")
    one.admit(0, [0] * 20 + [1] * 3)
    first = set(one.kept)
    one.admit(1, [0] * 9 + [1] * 40)
    counts = Counter((kept.task, kept.label) for kept in one.kept)
    level = max(counts.values())

    assert sum(counts.values()) == size == len(set(one.kept))
    assert {kept for kept in one.kept if kept.task == 0} <= first
    for group, available in {(0, 0): 20, (0, 1): 3, (1, 0): 9, (1, 1): 40}.items():
        assert counts[group] >= min(level - 1, available)


def test_more_room_than_examples_keeps_all():
    """In either policy."""
    for policy in ("reservoir", "class-balanced"):
        one = memory(100, policy)
        one.admit(0, [0, 1, 0])
        one.admit(1, [0, 0])
        assert one.rows() == {0: [0, 1, 2], 1: [0, 1]}


def test_no_memory_keeps_nothing():
    """It is off by default."""
    one = Memory(RehearsalConfig(), 0)
    one.admit(0, [0] * 9)

    assert one.rows() == {}


def test_what_is_drawn_depends_on_the_position_alone():
    """Distinct, in order, as many as asked for or as there are."""
    one = memory(9, per_step=4)
    drawn = [one.drawn(9, 1, step, 16) for step in (0, 1, 0)]

    assert (drawn[0] == drawn[2]).all()
    assert len({tuple(d) for d in drawn}) == 2
    for d in drawn:
        assert len(set(d)) == 4
        assert (np.diff(d) > 0).all()
    assert len(memory(9).drawn(9, 0, 0, 16)) == 9
    assert len(memory(9).drawn(9, 0, 0, 2)) == 2


def test_a_restored_memory_goes_on_as_the_old_one():
    """Through what a checkpoint keeps, which names the examples."""
    old, new = memory(6), memory(6)
    old.admit(0, [0, 1] * 5)
    facts = old.facts({0: [f"id-{row}" for row in range(10)]})
    new.restore(facts)
    for one in (old, new):
        one.admit(1, [0] * 30)

    assert {kept["id"] for kept in facts["kept"]} <= {f"id-{row}" for row in range(10)}
    assert new.kept == old.kept
    assert new.seen == old.seen == 40


def test_every_step_learns_its_own_batch_and_kept_examples():
    """Portions name the right examples of the right tasks."""
    parts = learner(
        scenario=small_scenario(3), rehearsal=RehearsalConfig(size=9, per_step=5), max_steps=1
    )
    list(learn(parts))
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[2], 0
    )
    flat = [(lesson.index, name) for lesson in course.kept for name in lesson.encoded.ids]
    drawn = [flat[k] for k in parts.memory.drawn(9, 2, 0, 8)]
    own, *again = course.portions(0)

    assert own.lesson.index == 2
    assert len(own.chosen) == 8
    assert drawn == [
        (portion.lesson.index, portion.lesson.encoded.ids[k])
        for portion in again
        for k in portion.chosen
    ]
    train = {j: parts.scenario[j].task.load().train.column("id") for j in range(3)}
    for lesson in course.kept:
        rows = parts.memory.rows()[lesson.index]
        assert lesson.encoded.ids == [train[lesson.index][row] for row in rows]


def test_kept_examples_compete_with_all_classes_seen():
    """New ones with their own: digits, two classes a task, in the third task."""
    parts = learner(
        scenario=load_scenario("split-digits"),
        backbone="tiny-vit",
        rehearsal=RehearsalConfig(size=9),
        max_steps=1,
    )
    steps = learn(parts)
    next(steps), next(steps)
    begin(parts, parts.scenario[2])
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[2], 0
    )
    for lesson in (*course.lessons, *course.kept):
        said = parts.backbone.answers(
            lesson.encoded.batch([0]), lesson.candidates, lesson.current_only
        )
        assert said.logits.shape[1] == (2 if lesson.index == 2 else 6)
    assert {lesson.index for lesson in course.kept} == {0, 1}


def test_kept_examples_weigh_as_much_as_new_ones():
    """The loss of a step is the mean over all of them."""
    events = []
    parts = learner(
        scenario=small_scenario(2),
        rehearsal=RehearsalConfig(size=24, per_step=8),
        max_steps=1,
        log_steps=1,
    )
    steps = learn(replace(parts, log=events.append))
    next(steps)
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[1], 0
    )
    nats, count = 0.0, 0
    for portion in course.portions(0):
        batch = portion.lesson.encoded.batch(portion.chosen)
        total, part = parts.backbone.loss(batch, portion.lesson.candidates, False)
        nats, count = nats + float(total.detach()), count + part
    next(steps)

    assert len(course.portions(0)) == 2
    assert events[-1]["loss"] == pytest.approx(nats / count, rel=1e-4)
