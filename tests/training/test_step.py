"""One engine per process, whatever precision the next run wants."""

from dataclasses import replace

import torch

from continual.training.loop import begin, learn
from continual.training.step import make_accelerator
from tests.sequences import small_scenario
from tests.training.learners import learner


def test_a_run_may_want_another_precision_than_the_last_one():
    """float32, bf16 and float32 again, in one process."""
    found = [make_accelerator(learner(precision=p)).mixed_precision for p in ("float32", "bf16")]

    assert [*found, make_accelerator(learner()).mixed_precision] == ["no", "bf16", "no"]


def test_bf16_trains_under_autocast_with_float32_weights():
    """The adapter stays float32 and moves."""
    parts = learner(precision="bf16")
    begin(parts, parts.scenario[0])
    before = {n: p.detach().clone() for n, p in parts.adaptation.trainable().items()}
    fresh = learner(precision="bf16")
    assert list(learn(fresh)) == [0]

    after = fresh.adaptation.trainable()
    assert {p.dtype for p in after.values()} == {torch.float32}
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_nothing_but_the_declared_numbers_changes():
    """After training, every base weight is what it was, bit for bit."""
    parts = learner()
    base = {n: p.detach().clone() for n, p in parts.backbone.model.named_parameters()}
    list(learn(parts))
    trainable = {id(p) for p in parts.adaptation.trainable().values()}

    for name, parameter in parts.backbone.model.named_parameters():
        if id(parameter) not in trainable:
            assert torch.equal(parameter, base[name])


def test_the_loop_yields_every_experience_and_observes_before_and_after():
    """Row -1 comes first, then one row per experience."""
    seen = []
    parts = replace(learner(), scenario=small_scenario(2), observe=lambda i, s: seen.append((i, s)))

    assert list(learn(parts)) == [0, 1]
    assert seen == [(-1, 0), (0, 3), (1, 3)]
