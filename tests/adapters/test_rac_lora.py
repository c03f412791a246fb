"""RAC-LoRA against the projected gradient step that it is meant to be."""

import pytest
import torch
from torch.testing import assert_close

from continual.adapters.rac_lora import RACLoRA, RACLoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


@pytest.mark.parametrize("side", ["A", "B"])
def test_one_round_of_one_step_is_a_projected_gradient_step_on_the_weight(side):
    """With plain descent: ΔW = −η s² G AᵗA for side B, −η s² B Bᵗ G for side A."""
    where = site()
    adapter = RACLoRA(where, RACLoRAConfig(rank=2, alpha=3.0, every=1, side=side))
    generator = torch.Generator().manual_seed(0)
    x, target = torch.randn(9, 5, generator=generator), torch.randn(9, 7, generator=generator)
    expected = torch.zeros(7, 5)
    for _ in range(4):
        weight = (where.weight + expected).requires_grad_()
        (x @ weight.T - target).square().mean().backward()
        A, B = adapter.rounds.pair.A.detach().clone(), adapter.rounds.pair.B.detach().clone()
        step = weight.grad @ A.T @ A if side == "B" else B @ B.T @ weight.grad
        expected = expected - 0.1 * 1.5**2 * step
        optimiser = torch.optim.SGD(adapter.parameters(), lr=0.1)
        (adapter(x, x @ where.weight.T) - target).square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        assert adapter.after_step(0.1)

        assert_close(adapter.delta_weight().detach(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("side", "numbers"), [("A", 3 * 5), ("B", 3 * 7)])
def test_the_count_holds_in_every_round(side, numbers):
    """At every moment, since the side never changes."""
    config = RACLoRAConfig(rank=3, every=2, side=side)
    adapter = RACLoRA(site(), config)
    for task in range(3):
        adapter.begin_task(task)
        for turn in range(3):
            train_adapter(adapter, 5, steps=1, seed=turn)

            assert sum(p.numel() for p in adapter.parameters()) == numbers
            assert RACLoRA.trained_numbers(7, 5, config, task) == numbers


def test_the_random_factor_stays_for_a_round_and_no_longer():
    """It keeps every bit while its partner learns."""
    adapter = RACLoRA(site(), RACLoRAConfig(rank=2, every=4))
    drawn = adapter.rounds.pair.A.clone()

    train_adapter(adapter, 5, steps=3)
    assert torch.equal(adapter.rounds.pair.A, drawn)
    assert adapter.rounds.pair.B.any()
    adapter.after_step(0.1)
    assert not torch.equal(adapter.rounds.pair.A, drawn)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"side": "C"}, "RACLoRAConfig.side"),
        ({"every": 0}, "RACLoRAConfig.every must be an integer of at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    """At construction."""
    with pytest.raises(InputError, match=message):
        RACLoRAConfig(**settings)
