"""Elastic weight consolidation against its formula."""

import pytest
import torch
from torch.testing import assert_close

from continual.scenario import load_scenario
from continual.training.config import EWCConfig
from continual.training.ewc import ElasticWeights
from continual.training.lesson import prepare
from continual.training.loop import begin, learn
from tests.sequences import small_scenario
from tests.training.learners import learner


def lesson_of(parts, experience=0):
    """The first lesson of an experience."""
    course = prepare(
        parts.scenario,
        parts.backbone,
        parts.config,
        parts.memory,
        parts.scenario[experience],
        parts.seed,
    )
    return course.lessons[0]


def trained(method="lora", **options):
    """A learner after its first experience, and what it holds on to."""
    parts = learner(method, scenario=small_scenario(2), max_steps=2, **options)
    next(learn(parts))
    return parts


def slow_fisher(parts, lesson, numbers):
    """Mean squared gradients, one example and one backward pass at a time."""
    total, count = dict.fromkeys(numbers, 0.0), 0
    for k in range(len(lesson.encoded)):
        nats, tokens = parts.backbone.loss(
            lesson.encoded.batch([k]), lesson.candidates, lesson.current_only
        )
        slopes = torch.autograd.grad(nats, list(numbers.values()))
        for name, slope in zip(numbers, slopes, strict=True):
            total[name] = total[name] + slope.double() ** 2
        count += tokens
    return {name: (value / count).float() for name, value in total.items()}


def test_the_fisher_of_the_numbers_that_learn():
    """By autograd over each example alone."""
    parts = trained(ewc=EWCConfig(lam=1.0))
    numbers = parts.adaptation.trainable()
    expected = slow_fisher(parts, lesson_of(parts), numbers)

    assert parts.elastic.importance.keys() == numbers.keys()
    for name, value in expected.items():
        assert_close(parts.elastic.importance[name], value, rtol=1e-3, atol=1e-9)
        assert torch.equal(parts.elastic.anchor[name], numbers[name].detach())


@pytest.mark.parametrize("method", ["lora", "nlora", "slora"])
def test_the_fisher_of_whole_weights_is_that_of_the_merged_model(method):
    """Differentiating by W + ΔW put into the plain layers gives the same."""
    parts = trained(method, ewc=EWCConfig(lam=1.0, fisher="weights"))
    lesson = lesson_of(parts)
    with parts.adaptation.unwrapped() as bases:
        with torch.no_grad():
            for name, base in bases.items():
                base.weight += parts.adaptation.adapters[name].delta_weight()
        weights = {name: base.weight.requires_grad_() for name, base in bases.items()}
        expected = slow_fisher(parts, lesson, weights)

    for name, value in expected.items():
        assert_close(parts.elastic.importance[name], value, rtol=2e-3, atol=1e-8)


@pytest.mark.slow
def test_labels_drawn_from_the_model_give_another_fisher():
    """Deterministic, and not the empirical one."""
    config = EWCConfig(lam=1.0, labels="model")
    first, again = trained(ewc=config).elastic, trained(ewc=config).elastic
    other = trained(ewc=EWCConfig(lam=1.0)).elastic

    for name, value in first.importance.items():
        assert torch.equal(value, again.importance[name])
        assert not torch.equal(value, other.importance[name])


@pytest.mark.parametrize("decay", [None, 1.0, 0.5])
def test_the_penalty_is_the_sum_over_tasks(decay):
    """Equal in value up to a constant, equal in gradient; online has one anchor."""
    lam, elastic = 3.0, ElasticWeights(EWCConfig(lam=3.0, decay=decay))
    generator = torch.Generator().manual_seed(0)
    fishers = [torch.rand(4, 3, generator=generator) for _ in range(3)]
    anchors = [torch.randn(4, 3, generator=generator) for _ in range(3)]
    fishers[0][0, 0] = fishers[1][0, 0] = fishers[2][0, 0] = 0.0
    for F, anchor in zip(fishers, anchors, strict=True):
        elastic.absorb({"w": F}, {"w": anchor})

    def formula(w):
        if decay is None:
            pairs = zip(fishers, anchors, strict=True)
            return lam / 2 * sum((F * (w - a) ** 2).sum() for F, a in pairs)
        F = decay**2 * fishers[0] + decay * fishers[1] + fishers[2]
        return lam / 2 * (F * (w - anchors[-1]) ** 2).sum()

    found, expected = [], []
    for _ in range(2):
        w = torch.randn(4, 3, generator=generator).requires_grad_()
        ours, theirs = elastic.cost({"w": w}), formula(w)
        found.append(ours.item())
        expected.append(theirs.item())
        (a,), (b,) = torch.autograd.grad(ours, w), torch.autograd.grad(theirs, w)
        assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert found[0] - found[1] == pytest.approx(expected[0] - expected[1], rel=1e-4)


def test_heads_that_grow_are_held_by_their_old_rows():
    """Digits arrive two at a time; what came later is free until its own task ends."""
    parts = learner(
        "head-only",
        scenario=load_scenario("split-digits"),
        backbone="tiny-vit",
        ewc=EWCConfig(lam=1.0, samples=8),
        max_steps=1,
    )
    steps = learn(parts)
    next(steps)
    old = parts.elastic.importance["heads.head_shared.weight"].clone()
    begin(parts, parts.scenario[1])
    (head,) = [p for n, p in parts.adaptation.trainable().items() if n.endswith("weight")]
    (slope,) = torch.autograd.grad(parts.elastic.penalty(parts.adaptation), head)

    assert old.shape[0] == 2
    assert head.shape[0] == 4
    assert not slope.any()
    parts.elastic.consolidate(parts.backbone, parts.adaptation, lesson_of(parts, 1), 0)
    assert parts.elastic.importance["heads.head_shared.weight"].shape[0] == 4


def test_ewc_holds_what_it_says(tmp_path):
    """The larger λ, the less the numbers move on the second task."""
    moved = []
    for lam in (0.0, 10.0, 1e4):
        parts = learner(scenario=small_scenario(2), ewc=EWCConfig(lam=lam, samples=8), epochs=2)
        steps = learn(parts)
        next(steps)
        before = {n: p.detach().clone() for n, p in parts.adaptation.trainable().items()}
        next(steps)
        after = parts.adaptation.trainable()
        moved.append(sum(float((after[n].detach() - p).square().sum()) for n, p in before.items()))

    assert moved[0] > moved[1] > moved[2]
