"""CLoRA: its penalty in full, its directions, and what it protects."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach
from continual.adapters.clora import CLoRA, CLoRAConfig
from continual.adapters.lora import LoRA, LoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


def test_the_penalty_entry_by_entry():
    """λ (Σ (a_i · p_j)² + Σ (b_i · q_j)²), with value and gradients."""
    adapter = CLoRA(site(7, 5), CLoRAConfig(rank=3, k=2, lam=0.7))
    nn.init.normal_(adapter.pair.B)
    A, B = adapter.pair.A.detach().clone(), adapter.pair.B.detach().clone()
    A.requires_grad_(), B.requires_grad_()

    slow = torch.zeros(())
    for i in range(3):
        for j in range(2):
            slow = slow + (A[i] * adapter.P_A[:, j]).sum() ** 2
            slow = slow + (B[:, i] * adapter.P_B[:, j]).sum() ** 2
    (0.7 * slow).backward()
    adapter.penalty().backward()

    assert_close(adapter.penalty(), 0.7 * slow)
    assert_close(adapter.pair.A.grad, A.grad)
    assert_close(adapter.pair.B.grad, B.grad)


def test_directions_are_orthonormal_and_of_each_layer():
    """P_A at the input, P_B at the output; another layer has others; equal sites equal ones."""
    config = CLoRAConfig(rank=2, k=3)
    first, again, other = CLoRA(site(), config), CLoRA(site(), config), CLoRA(site(seed=4), config)

    assert (first.P_A.shape, first.P_B.shape) == ((5, 3), (7, 3))
    for P in (first.P_A, first.P_B):
        assert_close(P.T @ P, torch.eye(3), rtol=0, atol=1e-6)
    assert torch.equal(first.P_A, again.P_A)
    assert (first.P_A - other.P_A).norm() > 0.1


@pytest.mark.parametrize("shape", [(300, 400), (40, 30), (7, 5), (1, 9)])
def test_how_many_directions_by_default(shape):
    """Half of the smaller side, at most 128; a single row has none to spare."""
    adapter = CLoRA(site(*shape), CLoRAConfig(rank=1))

    assert adapter.P_A.shape == (shape[1], min(128, min(shape) // 2))
    assert adapter.penalty().isfinite()


def test_inputs_in_the_protected_directions_are_left_alone():
    """A strong penalty: the outputs there change by a hundredth of what plain LoRA changes."""
    changes = {}
    for lam in (0.0, 100.0):
        adapter = CLoRA(site(20, 20), CLoRAConfig(rank=4, k=8, lam=lam))
        train_adapter(adapter, 20, steps=100)
        delta = adapter.delta_weight().detach()
        inside = (delta @ adapter.P_A).norm() + (adapter.P_B.T @ delta).norm()
        changes[lam] = inside / delta.norm()

    assert changes[100.0] < 0.01 * changes[0.0]


def test_without_penalty_it_is_lora_bit_for_bit():
    """λ = 0, through two tasks."""
    first = CLoRA(site(), CLoRAConfig(rank=3, lam=0.0))
    second = LoRA(site(), LoRAConfig(rank=3))
    for task in range(2):
        for adapter in (first, second):
            adapter.begin_task(task)
            train_adapter(adapter, 5, seed=task)

    assert torch.equal(first.delta_weight(), second.delta_weight())


def test_the_penalty_of_a_model_is_a_mean_or_a_sum():
    """Weighted by the size of the weights, or every layer in full."""
    found = {}
    for reduction in ("mean", "sum"):
        model = nn.Sequential(nn.Linear(4, 10), nn.Linear(10, 3))
        config = CLoRAConfig(rank=2, k=1, lam=1.0, reduction=reduction)
        adaptation = attach(model, "clora", config, targets="all-linear")
        parts = [
            (a.pair.A @ a.P_A).square().sum() + (a.pair.B.T @ a.P_B).square().sum()
            for a in adaptation.adapters.values()
        ]
        found[reduction] = (adaptation.penalty(), parts)

    total, parts = found["mean"]
    assert_close(total, parts[0] * 40 / 70 + parts[1] * 30 / 70)
    total, parts = found["sum"]
    assert_close(total, parts[0] + parts[1])


def test_a_state_brings_its_directions_along():
    """Loaded into an adapter of another seed, the penalty is the same to the last bit."""
    source, target = (CLoRA(site(seed=k), CLoRAConfig(rank=3)) for k in (3, 4))
    train_adapter(source, 5)
    assert not torch.equal(source.penalty(), target.penalty())

    target.restore(source.state_dict(), site().weight)

    assert torch.equal(source.penalty(), target.penalty())
    assert torch.equal(source.P_B, target.P_B)


def test_a_state_may_be_loaded_under_another_number_of_threads():
    """The decomposition rounds otherwise there; the pair and what it avoids are the same."""
    wide, threads = site(m=192, n=96), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        source = CLoRA(wide, CLoRAConfig())
        train_adapter(source, 96)
        torch.set_num_threads(2)
        target = CLoRA(wide, CLoRAConfig())
        target.restore(source.state_dict(), wide.weight)
        assert torch.equal(source.delta_weight(), target.delta_weight())
        assert_close(source.penalty(), target.penalty(), rtol=1e-5, atol=0.0)
    finally:
        torch.set_num_threads(threads)


def test_directions_that_come_out_otherwise_are_refused():
    """The penalty would silently be another one."""
    adapter, other = (CLoRA(site(seed=seed), CLoRAConfig(rank=3)) for seed in (3, 4))
    state = {**adapter.state_dict(), "witness": other.witness}

    with pytest.raises(InputError, match="at layer 'layer' are not those that"):
        adapter.restore(state, site().weight)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: CLoRAConfig(lam=-1.0), "CLoRAConfig.lam must be finite and at least 0"),
        (lambda: CLoRAConfig(k=0), "CLoRAConfig.k must be an integer of at least 1"),
        (
            lambda: CLoRA(site(), CLoRAConfig(rank=2, k=5)),
            r"k = 5 directions from layer 'layer', whose weight is \(7, 5\): lower k below 5",
        ),
    ],
)
def test_impossible_settings_are_refused(build, message):
    """At construction, with the layer's name."""
    with pytest.raises(InputError, match=message):
        build()
