"""Flat-LoRA: the noise has the paper's variance, lasts a step, and is never kept."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters.base import Site
from continual.adapters.flat_lora import FlatLoRA, FlatLoRAConfig, Shaken, noise
from continual.adapters.lora import LoRA, LoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


def made(m: int = 7, n: int = 5, sigma: float = 0.05) -> FlatLoRA:
    """An adapter with a full B, in the middle of a step."""
    adapter = FlatLoRA(site(m, n), FlatLoRAConfig(rank=3, sigma=sigma))
    nn.init.normal_(adapter.pair.B)
    torch.manual_seed(0)
    adapter.before_step()
    return adapter


def shaken(adapter: FlatLoRA) -> torch.Tensor:
    """ε, read off from the output for unit inputs."""
    n = adapter.weight.shape[1]
    with torch.no_grad():
        dense = adapter(torch.eye(n), torch.zeros(n, adapter.weight.shape[0])).T
        return dense - adapter.delta_weight()


def test_the_variance_is_that_of_the_paper():
    """σ² ‖W'_i‖² / n for every row, over 20,000 inputs; W' is the changed weight."""
    adapter = made(4, 20_000)
    adapter.pair.B.data.mul_(50.0)
    adapter.before_step()
    changed = adapter.weight + adapter.delta_weight().detach()
    found = noise(*adapter.step[:1], 20_000, adapter.step[1])

    assert_close(found.std(1), 0.05 * changed.norm(dim=1) / 20_000**0.5, rtol=0.03, atol=0)
    assert (found.mean(1).abs() < 4 * found.std(1) / 20_000**0.5).all()
    bare = 0.05 * adapter.weight.norm(dim=1) / 20_000**0.5
    assert not torch.allclose(found.std(1), bare, rtol=0.03, atol=0)


def test_forward_and_backward_are_those_of_the_dense_noise():
    """Output, and gradients of x, A and B, as with W' + ε written out; ε is a constant."""
    adapter = made()
    epsilon = noise(adapter.step[0], 5, adapter.step[1])
    x = torch.randn(2, 4, 5).requires_grad_()
    y = torch.randn(2, 4, 7)
    again = x.detach().clone().requires_grad_()
    A, B = (p.detach().clone().requires_grad_() for p in (adapter.pair.A, adapter.pair.B))

    out = adapter(x, y)
    out.pow(3).sum().backward()
    dense = y + again @ (16 / 3 * B @ A + epsilon).T
    dense.pow(3).sum().backward()

    assert epsilon.norm() > 0.01
    assert_close(out, dense, rtol=1e-4, atol=1e-4)
    for mine, theirs in ((x, again), (adapter.pair.A, A), (adapter.pair.B, B)):
        assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-2)


def test_no_dense_matrix_is_kept_for_the_backward_pass():
    """What autograd saves has m numbers where ε has m n."""
    adapter = made(40, 50)
    saved: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        Shaken.apply(torch.randn(2, 50, requires_grad=True), *adapter.step).sum().backward()

    assert saved == [40]


def test_a_step_has_one_noise_and_the_next_another():
    """The same for all micro-batches, and for a second pass over the first."""
    adapter = made()
    first, again = shaken(adapter), shaken(adapter)
    adapter.after_step(0.1)
    adapter.before_step()

    assert torch.equal(first, again)
    assert first.norm() > 0.01
    assert (shaken(adapter) - first).norm() > 0.01


def test_there_is_no_noise_in_eval_mode_or_between_steps():
    """Evaluation within a step, and everything after it, sees the weight at rest."""
    adapter = made()

    assert shaken(adapter.eval()).norm() < 1e-5
    adapter.train().after_step(0.1)
    assert shaken(adapter).norm() < 1e-5
    assert adapter.step is None


def test_the_step_is_drawn_from_the_loops_position():
    """Equal global seeds give equal noise; the seed is drawn on the CPU."""
    first, second = made(), made()

    assert torch.equal(shaken(first), shaken(second))


def test_without_noise_it_is_lora_bit_for_bit():
    """σ = 0, through two tasks."""
    first = FlatLoRA(site(), FlatLoRAConfig(rank=3, sigma=0.0))
    second = LoRA(site(), LoRAConfig(rank=3))
    for task in range(2):
        for adapter in (first, second):
            adapter.begin_task(task)
            train_adapter(adapter, 5, seed=task)

    assert torch.equal(first.delta_weight(), second.delta_weight())


def test_half_precision_weights_are_measured_in_float32():
    """Row norms of a bfloat16 weight; also under autocast the gradients stay float32."""
    where = site(dtype=torch.bfloat16)
    adapter = FlatLoRA(where, FlatLoRAConfig(rank=3))
    adapter.before_step()
    x = torch.randn(4, 5).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = adapter(x, torch.zeros(4, 7))
    out.float().sum().backward()

    expected = 0.05 * where.weight.float().norm(dim=1) / 5**0.5
    assert_close(adapter.step[0], expected)
    assert x.grad.dtype == adapter.pair.B.grad.dtype == torch.float32
    assert x.grad.isfinite().all()


def test_a_restored_adapter_measures_the_weight_it_was_given():
    """Not the one that it was built on."""
    built = site(seed=4)
    adapter = FlatLoRA(built, FlatLoRAConfig(rank=3))
    weight = 3.0 * torch.ones(7, 5)
    where = Site(name="layer", weight=weight, share=1.0, seed=3)
    source = FlatLoRA(where, FlatLoRAConfig(rank=3))

    adapter.restore(source.state_dict(), weight)
    adapter.before_step()

    assert_close(adapter.step[0], torch.full((7,), 0.05 * 3.0))


def test_impossible_settings_are_refused():
    """At construction."""
    with pytest.raises(InputError, match=r"FlatLoRAConfig\.sigma must be finite and at least 0"):
        FlatLoRAConfig(sigma=-0.1)


def test_noise_is_part_of_training_only():
    """Two trainings from equal seeds agree; σ changes what is learned."""
    deltas = []
    for sigma in (0.05, 0.05, 0.0):
        adapter = FlatLoRA(site(), FlatLoRAConfig(rank=3, sigma=sigma))
        deltas.append(train_adapter(adapter, 5).delta_weight())

    assert torch.equal(deltas[0], deltas[1])
    assert not torch.allclose(deltas[0], deltas[2])
