"""DropLoRA: what is dropped, when, and that nothing is left of it afterwards."""

import peft
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters.droplora import DropLoRA, DropLoRAConfig
from continual.adapters.lora import LoRA, LoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


def made(granularity: str, p: float = 0.5, rank: int = 4) -> DropLoRA:
    """An adapter with a full B, in the middle of a step."""
    adapter = DropLoRA(site(7, 5), DropLoRAConfig(rank=rank, p=p, granularity=granularity))
    nn.init.normal_(adapter.pair.B)
    torch.manual_seed(0)
    adapter.before_step()
    return adapter


def masks(adapter: DropLoRA, x: torch.Tensor) -> torch.Tensor:
    """(1 − p) z of the forward pass, read off from a B of unit columns and s = 1."""
    adapter.scale = 1.0
    with torch.no_grad():
        adapter.pair.B.zero_()[: adapter.pair.B.shape[1]].fill_diagonal_(1.0)
        masked = adapter(x, torch.zeros(*x.shape[:-1], 7))[..., : adapter.pair.B.shape[1]]
        return (masked / (x @ adapter.pair.A.T)).mul(1.0 - adapter.config.p).round().abs()


@pytest.mark.parametrize("granularity", ["step", "sample", "element"])
def test_a_mask_holds_for_a_step_an_example_or_a_vector(granularity):
    """One pattern in all, one per example, or several in one example."""
    found = masks(made(granularity, p=0.2), torch.randn(6, 8, 5))

    assert found.unique().tolist() == [0.0, 1.0]
    within = len(found[0].unique(dim=0))
    overall = len(found.flatten(0, 1).unique(dim=0))
    if granularity == "step":
        assert (within, overall) == (1, 1)
    elif granularity == "sample":
        assert within == 1 < overall <= 6
    else:
        assert within > 1


def test_a_step_in_micro_batches_is_the_step_in_one():
    """The same subspace for every micro-batch, so the same gradient; another one next step."""
    adapter, x = made("step"), torch.randn(8, 5)
    y = torch.zeros(8, 7)

    adapter(x, y).square().sum().backward()
    whole = adapter.pair.A.grad.clone()
    adapter.zero_grad()
    for part in (slice(0, 3), slice(3, 8)):
        adapter(x[part], y[part]).square().sum().backward()

    assert_close(adapter.pair.A.grad, whole, rtol=1e-4, atol=1e-4)
    seen = set()
    for _ in range(20):
        adapter.after_step(0.1)
        adapter.before_step()
        seen.add(tuple(adapter.mask.tolist()))
    assert len(seen) > 3


def test_dropped_ranks_get_no_gradient():
    """Rows of A and columns of B that are out rest; the others do not."""
    adapter = made("step")
    adapter(torch.randn(8, 5), torch.zeros(8, 7)).square().sum().backward()

    out = adapter.mask == 0.0
    assert out.any()
    assert not out.all()
    assert torch.equal(adapter.pair.A.grad.any(dim=1), ~out)
    assert torch.equal(adapter.pair.B.grad.any(dim=0), ~out)


@pytest.mark.parametrize("granularity", ["step", "sample", "element"])
def test_the_mean_over_masks_is_the_unmasked_output(granularity):
    """Inverted scaling: E[z] = 1, so answers need no correction."""
    adapter, x = made(granularity), torch.randn(3, 5)
    y = torch.zeros(3, 7)
    outputs = []
    for _ in range(500):
        adapter.before_step()
        outputs.append(adapter(x, y).detach())

    error = (torch.stack(outputs).mean(0) - adapter.eval()(x, y)).detach()
    spread = torch.stack(outputs).std(0) / 500**0.5
    assert (error.abs() < 5 * spread + 1e-6).all()


@pytest.mark.parametrize("granularity", ["step", "sample", "element"])
def test_there_is_no_mask_in_eval_mode_or_between_steps(granularity):
    """Evaluation within a step, and everything after it, sees the whole pair."""
    adapter, x = made(granularity), torch.randn(6, 5)
    y = torch.zeros(6, 7)
    whole = x @ adapter.delta_weight().T

    assert not torch.allclose(adapter(x, y), whole)
    assert_close(adapter.eval()(x, y), whole, rtol=1e-5, atol=1e-5)
    adapter.train().after_step(0.1)
    assert_close(adapter(x, y), whole, rtol=1e-5, atol=1e-5)
    assert adapter.mask is None


def test_without_dropping_it_is_lora_bit_for_bit():
    """P = 0, through two tasks of training."""
    first = DropLoRA(site(), DropLoRAConfig(rank=3, p=0.0))
    second = LoRA(site(), LoRAConfig(rank=3))
    for task in range(2):
        for adapter in (first, second):
            adapter.begin_task(task)
            train_adapter(adapter, 5, seed=task)

    assert torch.equal(first.delta_weight(), second.delta_weight())


def test_answers_are_those_of_pefts_lora_with_the_same_factors():
    """To 1e-6, in eval mode."""
    base = nn.Linear(5, 7)
    adapter = made("element")
    theirs = peft.get_peft_model(
        nn.Sequential(nn.Linear(5, 7)),
        peft.LoraConfig(r=4, lora_alpha=16, target_modules=["0"]),
    ).eval()
    layer = theirs.base_model.model[0]
    layer.base_layer.load_state_dict(base.state_dict())
    layer.lora_A["default"].weight.data = adapter.pair.A.data.clone()
    layer.lora_B["default"].weight.data = adapter.pair.B.data.clone()
    x = torch.randn(4, 5)

    assert_close(adapter.eval()(x, base(x)), theirs(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DropLoRAConfig(p=1.0), r"must be below 1 for anything to learn; got 1\.0"),
        (lambda: DropLoRAConfig(p=-0.1), "DropLoRAConfig.p must be finite and at least 0"),
        (lambda: DropLoRAConfig(granularity="token"), "granularity"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    """At construction."""
    with pytest.raises(InputError, match=message):
        build()
