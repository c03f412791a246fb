"""PeriodicLoRA against the recursion of its momentum."""

import pytest
import torch
from torch.testing import assert_close

from continual.adapters.cola import COLA, COLAConfig
from continual.adapters.periodic_lora import PeriodicLoRA, PeriodicLoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


def periodic(momentum, every=4, rank=2):
    """An adapter of one weight."""
    return PeriodicLoRA(site(), PeriodicLoRAConfig(rank=rank, every=every, momentum=momentum))


def unloaded(adapter):
    """ΔW right after an unloading, when the pair is zero."""
    assert not adapter.rounds.pair.B.any()
    return adapter.delta_weight().detach().double()


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_unloading_follows_the_recursion(momentum):
    """V_k = μ V_{k−1} + (1 − μ) s B_k A_k and W += V_k, written out densely in float64."""
    adapter = periodic(momentum)
    velocity = change = torch.zeros(7, 5, dtype=torch.float64)
    for turn in range(6):
        train_adapter(adapter, 5, steps=3, seed=turn)
        pair = 8.0 * (adapter.rounds.pair.B @ adapter.rounds.pair.A).detach().double()
        assert_close(adapter.delta_weight().detach().double(), change + pair, rtol=1e-5, atol=1e-5)
        velocity = momentum * velocity + (1 - momentum) * pair
        change = change + velocity
        assert adapter.after_step(0.05)

        assert_close(unloaded(adapter), change, rtol=1e-5, atol=1e-5)


def test_unloading_changes_the_function_unless_momentum_is_zero():
    """By −μ s B A in the first round."""
    for momentum, kept in ((0.0, 1.0), (0.5, 0.5)):
        adapter = periodic(momentum)
        train_adapter(adapter, 5, steps=3)
        before = adapter.delta_weight().detach().double()
        adapter.after_step(0.05)

        assert_close(unloaded(adapter), kept * before, rtol=1e-5, atol=1e-6)


def test_without_momentum_it_is_cola_bit_for_bit():
    """Through three tasks, with restarts and condensing; and far from it with momentum."""
    first = COLA(site(), COLAConfig(rank=2, every=3))
    second, third = periodic(0.0, every=3), periodic(0.5, every=3)
    for task in range(3):
        for adapter in (first, second, third):
            adapter.begin_task(task)
            train_adapter(adapter, 5, steps=8, seed=task)

    assert torch.equal(first.delta_weight(), second.delta_weight())
    assert not torch.allclose(first.delta_weight(), third.delta_weight())


def test_a_new_task_owes_nothing_to_the_last():
    """No later unloading brings what an earlier task withheld."""
    adapter = periodic(0.5)
    train_adapter(adapter, 5, steps=6)
    adapter.begin_task(1)
    before = adapter.delta_weight().detach()
    for _ in range(4):
        adapter.after_step(0.05)

    assert not adapter.withheld.any()
    assert torch.equal(adapter.delta_weight().detach(), before)


def test_the_past_is_condensed_once_it_is_unloaded():
    """Its rank stays below min(m, n) and what 25 halvings leave in flight."""
    adapter = periodic(0.5, every=1, rank=1)
    for turn in range(60):
        train_adapter(adapter, 5, steps=1, seed=turn)

    assert adapter.rounds.past.rank == len(adapter.withheld) <= 5 + 25
    assert (adapter.withheld == 0).sum() >= 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 1.0}, "momentum must be below 1, or nothing would ever be unloaded; got 1.0"),
        ({"momentum": -0.1}, "PeriodicLoRAConfig.momentum must be finite and at least 0"),
        ({"every": 0}, "PeriodicLoRAConfig.every must be an integer of at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    """At construction."""
    with pytest.raises(InputError, match=message):
        PeriodicLoRAConfig(**settings)
