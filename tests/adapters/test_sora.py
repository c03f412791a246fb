"""SoRA: the proximal step number by number, and ranks that really go."""

import peft
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters.base import seed_of
from continual.adapters.sora import SoRA, SoRAConfig
from continual.errors import InputError
from tests.adapters.models import adapter_of, site


def soft(value: float, threshold: float) -> float:
    """Soft thresholding: sign(v) max(|v| − t, 0)."""
    return max(abs(value) - threshold, 0.0) * (1.0 if value > 0 else -1.0)


@pytest.mark.parametrize(
    ("settings", "threshold"),
    [({}, 0.1 * 0.375), ({"xi": 0.9}, 0.1 * 0.9), ({"compat": "published"}, 3e-4)],
)
def test_the_proximal_step(settings, threshold):
    """After a step of rate 0.1: by η ξ, or by ξ alone as the published script; A and B are left."""
    adapter = SoRA(site(), SoRAConfig(rank=5, **settings))
    values = [1.0, -1.0, threshold / 2, -threshold / 2, 0.0]
    adapter.gates.data = torch.tensor(values)
    nn.init.normal_(adapter.pair.B)
    A, B = adapter.pair.A.clone(), adapter.pair.B.clone()

    assert adapter.after_step(0.1) is False

    assert adapter.gates.tolist() == pytest.approx([soft(v, threshold) for v in values], abs=1e-7)
    assert (adapter.gates[2:] == 0.0).all()
    assert torch.equal(adapter.pair.A, A)
    assert torch.equal(adapter.pair.B, B)


def test_the_change_is_a_sum_over_gated_ranks():
    """Rank by rank: s Σ g_k b_k a_kᵗ."""
    adapter = SoRA(site(), SoRAConfig(rank=3, alpha=6.0))
    nn.init.normal_(adapter.pair.B)

    slow = sum(
        2.0 * adapter.gates[k] * torch.outer(adapter.pair.B[:, k], adapter.pair.A[k])
        for k in range(3)
    )

    assert_close(adapter.delta_weight(), slow)


def test_the_gate_in_pefts_lora():
    """The same factors, with the gates folded into B, in PEFT's own layer: to 1e-6."""
    adapter, base = adapter_of("sora", site(), rank=3), nn.Linear(5, 7)
    nn.init.normal_(adapter.pair.B)
    theirs = peft.get_peft_model(
        nn.Sequential(nn.Linear(5, 7)),
        peft.LoraConfig(r=3, lora_alpha=16, target_modules=["0"]),
    )
    layer = theirs.base_model.model[0]
    layer.base_layer.load_state_dict(base.state_dict())
    layer.lora_A["default"].weight.data = adapter.pair.A.data.clone()
    layer.lora_B["default"].weight.data = (adapter.pair.B * adapter.gates).data.clone()
    x = torch.randn(4, 5)

    assert_close(adapter(x, base(x)), theirs(x), rtol=1e-6, atol=1e-6)


def test_closed_gates_leave_the_exported_factors():
    """Rank 2 of 4, still exactly ΔW; with all gates closed, one column of zeros."""
    adapter = SoRA(site(), SoRAConfig(rank=4))
    nn.init.normal_(adapter.pair.B)
    adapter.gates.data[[0, 2]] = 0.0

    B, A = adapter.factors()
    assert (B.shape, A.shape) == ((7, 2), (2, 5))
    assert_close(B @ A, adapter.delta_weight().detach())

    adapter.gates.data.zero_()
    B, A = adapter.factors()
    assert B.shape == (7, 1)
    assert not B.any()
    x, y = torch.randn(3, 5), torch.randn(3, 7)
    assert torch.equal(adapter.served(x, y), y)


def test_gates_close_where_the_loss_wants_little():
    """A target of rank 1 leaves few of 8 gates open and is learned; without ξ all stay open."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 20, generator=generator)
    target = torch.outer(x[:, 0], torch.randn(20, generator=generator))
    left = {}
    for xi in (0.0, 0.6):
        adapter = SoRA(site(20, 20), SoRAConfig(rank=8, xi=xi))
        optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.05, weight_decay=0.0)
        for _ in range(100):
            optimiser.zero_grad()
            loss = (adapter(x, torch.zeros_like(target)) - target).square().mean()
            loss.backward()
            optimiser.step()
            adapter.after_step(0.05)
        left[xi] = adapter.factors()[0].shape[1]
        assert loss < 0.01 * target.square().mean()

    assert left[0.0] == 8
    assert left[0.6] <= 4


def test_gates_are_drawn_from_the_site():
    """N(0, 1) from the layer's seed, at any time."""
    generator = torch.Generator().manual_seed(seed_of(3, "gates", 0))
    expected = torch.randn(5, generator=generator)
    torch.manual_seed(1)

    assert torch.equal(SoRA(site(seed=3), SoRAConfig(rank=5)).gates.detach(), expected)


def test_closed_gates_are_part_of_the_state():
    """A restored adapter has the same gates open."""
    source, target = (SoRA(site(), SoRAConfig(rank=4)) for _ in range(2))
    source.gates.data[1] = 0.0

    target.restore(source.state_dict(), site().weight)

    assert target.factors()[0].shape == (7, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: SoRAConfig(xi=1.0), r"must be below 1, or all gates close; got 1\.0"),
        (lambda: SoRAConfig(xi=-0.1), r"SoRAConfig\.xi must be finite and at least 0"),
        (lambda: SoRAConfig(compat="code"), r"SoRAConfig\.compat"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    """At construction; with the published threshold any ξ is possible."""
    assert SoRAConfig(xi=1.0, compat="published").strength == 1.0
    with pytest.raises(InputError, match=message):
        build()
