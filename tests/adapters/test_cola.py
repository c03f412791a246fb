"""COLA against the chain written out."""

import pytest
import torch
from torch import nn
from torch.nn.functional import linear
from torch.testing import assert_close

from continual.adapters.cola import COLA, COLAConfig
from continual.adapters.inclora import IncLoRA, IncLoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


def test_cola_is_a_chain_of_loras_on_a_merged_weight():
    """The paper's way: fresh LoRA and optimiser each round, the finished one added to W."""
    where = site()
    adapter = COLA(where, COLAConfig(rank=2, alpha=3.0, every=4))
    generator = torch.Generator().manual_seed(1)
    x, target = torch.randn(16, 5, generator=generator), torch.randn(16, 7, generator=generator)
    y = x @ where.weight.T
    merged = where.weight.clone()

    optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.05)
    for _ in range(5):
        B, A = (
            nn.Parameter(p.detach().clone()) for p in (adapter.rounds.pair.B, adapter.rounds.pair.A)
        )
        theirs = torch.optim.AdamW([A, B], lr=0.05)
        for _ in range(4):
            optimiser.zero_grad()
            theirs.zero_grad()
            (adapter(x, y) - target).square().mean().backward()
            (linear(x, merged + 1.5 * B @ A) - target).square().mean().backward()
            optimiser.step()
            theirs.step()
            if adapter.after_step(0.05):
                optimiser.state.clear()
        merged = (merged + 1.5 * B @ A).detach()

    assert_close(where.weight + adapter.delta_weight(), merged, rtol=1e-4, atol=1e-4)
    assert adapter.rounds.past.rank == 5


def test_a_chain_reaches_ranks_that_its_pairs_do_not():
    """Rank-1 rounds fit a target of full rank better than rank 1 can."""
    adapter = COLA(site(), COLAConfig(rank=1, every=20))

    train_adapter(adapter, 5, steps=200)

    assert torch.linalg.matrix_rank(adapter.delta_weight().detach(), rtol=1e-2) == 5


def test_without_restarts_inside_a_task_it_is_inclora():
    """Only the boundaries are left."""
    first = COLA(site(), COLAConfig(rank=2, every=100))
    second = IncLoRA(site(), IncLoRAConfig(rank=2))
    for task in range(2):
        for adapter in (first, second):
            adapter.begin_task(task)
            train_adapter(adapter, 5, seed=task)

    assert torch.equal(first.delta_weight(), second.delta_weight())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "COLAConfig.every must be an integer of at least 1; got 0"),
        ({"rank": 0}, "COLAConfig.rank must be an integer of at least 1; got 0"),
        ({"alpha": -1.0}, "COLAConfig.alpha must be a finite number above 0"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    """At construction."""
    with pytest.raises(InputError, match=message):
        COLAConfig(**settings)
