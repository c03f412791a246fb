"""Dynamic DoRA against its formulas written out, and what its budget does over several weights."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach
from continual.adapters.components import Components
from continual.adapters.dynamic_dora import DynamicDoRA, DynamicDoRAConfig
from continual.adapters.moments import forget
from continual.errors import InputError
from tests.adapters.models import site, train_adapter

QUICK = DynamicDoRAConfig(rank=2, first=2, last=6, every=2)


def network(config):
    """Two weights of different sizes under one budget, with inputs and a few steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 4))
    adaptation = attach(model, "dynamic-dora", config, targets="all-linear", seed=1)
    adaptation.begin_task(0)
    return adaptation


def train(adaptation, steps, seed=0):
    """Real steps of AdamW; the first weight's output matters more."""
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(seed))
    optimiser = torch.optim.AdamW(adaptation.trainable().values(), lr=0.03)
    for _ in range(steps):
        optimiser.zero_grad()
        (adaptation.model(x).square().mean() + adaptation.penalty()).backward()
        optimiser.step()
        forget(optimiser, adaptation.after_step(0.03))


def left(adaptation):
    """How many components of every weight are not zero."""
    return [int(a.parts.left().any(dim=0).sum()) for a in adaptation.adapters.values()]


def test_the_change_is_the_sum_of_its_components():
    """S Σ c_i b_i a_iᵗ with s = α / r₀ and r₀ = ⌈1.5 r⌉."""
    adapter = DynamicDoRA(site(9, 6), DynamicDoRAConfig(rank=3, alpha=10.0))
    nn.init.normal_(adapter.parts.c)
    parts = adapter.parts

    components = [
        c * torch.outer(b, a) for c, b, a in zip(parts.c, parts.B.T, parts.A, strict=True)
    ]

    assert len(components) == 5
    assert_close(adapter.delta_weight(), 2.0 * sum(components))


def test_importance_is_the_share_in_the_norm():
    """‖c b aᵗ‖_F / ‖ΔW‖_F of dense matrices, averaged with β."""
    parts = Components(site(9, 6), 4)
    expected = torch.zeros(4)
    for _ in range(3):
        nn.init.normal_(parts.c)
        whole = parts.B @ parts.c.diag() @ parts.A
        alone = [torch.outer(parts.B[:, i], parts.A[i]) * parts.c[i] for i in range(4)]
        share = torch.stack([one.norm() / whole.norm() for one in alone])
        expected = 0.7 * expected + 0.3 * share.detach()
        parts.remember(0.7)

    assert_close(parts.importance, expected)


def test_the_penalty_is_the_mean_variance_and_ends_with_the_pruning():
    """Over all weights by size; of rows of A and columns of B."""
    adaptation = network(QUICK)
    expected = 0.0
    for adapter in adaptation.adapters.values():
        A, B = adapter.parts.A.detach().numpy(), adapter.parts.B.detach().numpy()
        own = [*(row.var() for row in A), *(column.var() for column in B.T)]
        expected += 0.1 * adapter.share * sum(own) / len(own)

    assert adaptation.penalty().item() == pytest.approx(expected, rel=1e-5)
    train(adaptation, 5)
    assert adaptation.penalty() > 0.0
    train(adaptation, 1)
    assert adaptation.penalty() == 0.0


def test_the_budget_shrinks_by_the_cube():
    """2 weights of 3 components, 2 must go: after steps 4 and 6 int(2/8) = 0 and 2 are zero."""
    adaptation = network(QUICK)
    counts = []
    for _ in range(8):
        train(adaptation, 1)
        counts.append(sum(left(adaptation)))

    assert [QUICK.progress(step) for step in range(1, 8)] == [None] * 3 + [0.125, None, 1.0, None]
    assert counts == [6, 6, 6, 6, 6, 4, 4, 4]


def test_the_least_important_go_whichever_weight_they_belong_to():
    """Where all of one weight matter more, the other one pays for both."""
    adaptation = network(QUICK)
    train(adaptation, 5)
    first, second = (adapter.parts for adapter in adaptation.adapters.values())
    first.importance.copy_(torch.tensor([3.0, 4.0, 5.0]))
    second.importance.copy_(torch.tensor([2.0, 0.5, 0.1]))

    train(adaptation, 1)

    assert left(adaptation) == [3, 1]
    assert second.kept.tolist() == [1.0, 0.0, 0.0]


def test_pruned_components_grow_back_before_the_end_and_never_after():
    """They are set to zero, and masked only by the last pruning."""
    parts = Components(site(9, 6), 3)
    nn.init.ones_(parts.c)
    chosen = torch.tensor([True, False, False])

    parts.prune(chosen, for_good=False)
    assert parts.c.tolist() == [0.0, 1.0, 1.0]
    nn.init.ones_(parts.c)
    assert parts.left().any(dim=0).tolist() == [True, True, True]

    parts.prune(chosen, for_good=True)
    nn.init.ones_(parts.c)
    assert parts.left().any(dim=0).tolist() == [False, True, True]


def test_momentum_alone_brings_no_pruned_component_back():
    """Under AdamW, in a step without a gradient, they stay zero and the others still move."""
    adaptation = network(DynamicDoRAConfig(rank=2, first=0, last=8, every=1))
    optimiser = torch.optim.AdamW(adaptation.trainable().values(), lr=0.03)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    for weight in (1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0):
        before = left(adaptation)
        optimiser.zero_grad()
        (weight * adaptation.model(x).square().mean()).backward()
        optimiser.step()
        if weight:
            forget(optimiser, adaptation.after_step(0.03))
        now = [a.parts.c.detach().clone() for a in adaptation.adapters.values()]

    assert sum(before) < 6  # some were pruned after the last step with a gradient
    assert left(adaptation) == before
    for adapter, c in zip(adaptation.adapters.values(), now, strict=True):
        own = optimiser.state[adapter.parts.c]
        assert torch.equal(own["exp_avg"] == 0, c == 0)
        assert own["exp_avg_sq"].all()


def test_an_interrupted_run_prunes_the_same():
    """Steps and importance are in the state."""
    whole, broken = network(QUICK), network(QUICK)
    broken.load_state(whole.state())
    train(whole, 4)
    train(broken, 4)
    continued = network(QUICK)
    continued.load_state(broken.state())

    for adaptation in (whole, continued):
        adaptation.begin_task(1)
        train(adaptation, 3, seed=1)

    assert sum(left(whole)) == 4
    for name, tensor in whole.state().items():
        assert name == "meta" or torch.equal(tensor, continued.state()[name]), name


def test_a_small_weight_holds_what_it_can():
    """R₀ is at most min(m, n), and nothing is pruned where all fit the budget."""
    adapter = DynamicDoRA(site(), DynamicDoRAConfig(rank=5, first=0, last=1))

    train_adapter(adapter, 5, steps=2)

    assert len(adapter.parts.c) == 5
    assert adapter.parts.kept.all()
    assert DynamicDoRA.trained_numbers(7, 5, adapter.config, 0) == 5 * 13


def test_impossible_settings_are_refused():
    """In sentences."""
    with pytest.raises(InputError, match="last must be an integer of at least 51; got 50"):
        DynamicDoRAConfig(last=50)
    with pytest.raises(InputError, match=r"beta must be below 1; got 1\.0"):
        DynamicDoRAConfig(beta=1.0)
    with pytest.raises(InputError, match="dynamic-dora of rank 6 does not fit layer 'layer'"):
        DynamicDoRA(site(), DynamicDoRAConfig(rank=6))
