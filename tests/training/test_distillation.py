"""Learning without forgetting against its formula."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from continual.backbone.base import Answers
from continual.scenario import load_scenario
from continual.training.config import LwFConfig
from continual.training.distillation import Teacher, known_before
from continual.training.lesson import prepare
from continual.training.loop import begin, learn
from tests.sequences import small_scenario
from tests.training.learners import learner


def second_task(method="lora", scenario=None, backbone="tiny-lm", **options):
    """A learner that has begun its second task, its teacher and a batch."""
    parts = learner(
        method,
        scenario=scenario or small_scenario(2),
        backbone=backbone,
        lwf=LwFConfig(lam=2.0, temperature=3.0),
        max_steps=2,
        **options,
    )
    next(learn(parts))
    begin(parts, parts.scenario[1])
    teacher = Teacher.begin(parts.lwf, parts.scenario, parts.adaptation, 1)
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[1], 0
    )
    lesson = course.lessons[0]
    return parts, teacher, lesson, lesson.encoded.batch(range(6))


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_cost_is_kl_times_t_squared(temperature):
    """Against torch's distributions."""
    generator = torch.Generator().manual_seed(0)
    old, new = torch.randn(2, 5, 7, generator=generator)
    teacher = Teacher(LwFConfig(lam=0.5, temperature=temperature), {}, ())
    said = Answers(logits=new, truth=torch.zeros(5, dtype=torch.long), beside=(new, old))

    expected = kl_divergence(
        Categorical(logits=old / temperature), Categorical(logits=new / temperature)
    ).sum()

    found = teacher.cost((old, old), said)
    assert float(found) == pytest.approx(0.5 * temperature**2 * float(expected), rel=1e-5)


@pytest.mark.parametrize("method", ["lora", "nlora", "slora", "curlora", "full"])
def test_the_teacher_is_the_model_before_the_task(method):
    """What it says stays the same while the model learns, and nothing else is touched."""
    parts, teacher, lesson, batch = second_task(method)
    first = teacher.says(parts.backbone, parts.adaptation, batch, lesson.candidates)
    now = parts.backbone.answers(batch, lesson.candidates, True, teacher.known)
    assert float(teacher.cost(first, now).detach()) == pytest.approx(0.0, abs=1e-3)

    with torch.no_grad():
        for parameter in parts.adaptation.trainable().values():
            parameter.add_(0.05)
    learning = parts.adaptation.trainable()
    numbers = {n: p.detach().clone() for n, p in learning.items()}
    flags = {n: p.requires_grad for n, p in parts.backbone.named_parameters()}
    addresses = {n: p.data_ptr() for n, p in learning.items()}

    again = teacher.says(parts.backbone, parts.adaptation, batch, lesson.candidates)

    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert {n: p.requires_grad for n, p in parts.backbone.named_parameters()} == flags
    after = parts.adaptation.trainable()
    assert {n: p.data_ptr() for n, p in after.items()} == addresses
    for name, parameter in after.items():
        assert torch.equal(parameter.detach(), numbers[name])
    changed = parts.backbone.answers(batch, lesson.candidates, True, teacher.known)
    cost = teacher.cost(again, changed)
    assert float(cost.detach()) > 1e-3
    cost.backward()
    assert any(p.grad is not None and p.grad.any() for p in learning.values())


def test_the_teacher_speaks_without_dropout_and_leaves_training_on(monkeypatch):
    """Evaluation mode while it speaks, training mode afterwards."""
    parts, teacher, lesson, batch = second_task()
    parts.backbone.train()
    modes, answers = [], parts.backbone.answers

    def listening(*given):
        modes.append([module.training for module in parts.backbone.model.modules()])
        return answers(*given)

    monkeypatch.setattr(parts.backbone, "answers", listening)
    teacher.says(parts.backbone, parts.adaptation, batch, lesson.candidates)

    assert not any(modes[0])
    assert all(module.training for module in parts.backbone.model.modules())


def test_heads_are_asked_about_the_classes_known_before():
    """Digits: two old classes, whatever the new ones are."""
    parts, teacher, lesson, batch = second_task(
        scenario=load_scenario("split-digits"), backbone="tiny-vit"
    )
    said = teacher.says(parts.backbone, parts.adaptation, batch, lesson.candidates)

    assert [tuple(one.shape) for one in said] == [(6, 2)]


def test_what_was_known_before_depends_on_the_setting():
    """Every earlier task's own labels, the one shared set, or the classes seen."""
    own = small_scenario(3)
    digits = load_scenario("split-digits")

    assert [one.head for one in known_before(own, 2)] == [own[0].task.name, own[1].task.name]
    assert [len(one.labels) for one in known_before(digits, 2)] == [4]
    assert known_before(own, 0) == ()


def test_without_a_weight_or_a_past_there_is_no_teacher():
    """And no second forward pass."""
    parts, _, lesson, batch = second_task()
    for teacher in (
        Teacher.begin(LwFConfig(), parts.scenario, parts.adaptation, 1),
        Teacher.begin(LwFConfig(lam=1.0), parts.scenario, parts.adaptation, 0),
    ):
        assert teacher.says(parts.backbone, parts.adaptation, batch, lesson.candidates) == ()
        now = parts.backbone.answers(batch, lesson.candidates, True, teacher.known)
        assert now.beside == ()
        assert float(teacher.cost((), now).detach()) == 0.0
