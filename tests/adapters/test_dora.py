"""DoRA against the paper's formula, plain numbers and PEFT."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach, configure
from continual.adapters.dora import DoRA, DoRAConfig
from continual.adapters.lora import LoRA, LoRAConfig
from continual.adapters.magnitude import Magnitude
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


@pytest.fixture(autouse=True)
def _same_numbers():
    torch.manual_seed(0)


def moved(adapter: DoRA, seed: int = 1) -> DoRA:
    """Any numbers in place of the first ones."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return adapter


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (1, 4), (12, 12)])
def test_the_changed_weight_is_that_of_the_paper(shape):
    """W' = μ (W + s B A) / ‖W + s B A‖ by rows, formed densely in double precision."""
    where = site(*shape)
    adapter = moved(DoRA(where, DoRAConfig(rank=1, alpha=3.0)))
    W, B, A = (t.detach().double() for t in (where.weight, adapter.pair.B, adapter.pair.A))
    direction = W + 3.0 * B @ A
    magnitude = W.norm(dim=1, keepdim=True) + adapter.magnitude.offset.detach()[:, None]

    expected = magnitude * direction / direction.norm(dim=1, keepdim=True)

    assert_close((where.weight + adapter.delta_weight()).double(), expected, rtol=2e-6, atol=2e-6)


def test_dora_is_pefts_dora():
    """The same factors and magnitudes in PEFT's own layer: outputs and gradients."""
    import peft

    base, x = nn.Sequential(nn.Linear(6, 9)), torch.randn(5, 6)
    theirs = peft.get_peft_model(
        nn.Sequential(nn.Linear(6, 9)),
        peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"], use_dora=True),
    )
    layer = theirs.base_model.model[0]
    layer.base_layer.load_state_dict(base[0].state_dict())
    adaptation = attach(base, "dora", DoRAConfig(rank=4, alpha=8.0), targets=["0"])
    adapter = moved(adaptation.adapters["0"])
    layer.lora_A["default"].weight.data = adapter.pair.A.data.clone()
    layer.lora_B["default"].weight.data = adapter.pair.B.data.clone()
    magnitude = layer.lora_magnitude_vector["default"]
    magnitude.weight.data = adapter.magnitude.weight.norm(dim=1) + adapter.magnitude.offset.data

    base(x).square().sum().backward()
    theirs(x).square().sum().backward()

    assert_close(base(x), theirs(x), rtol=1e-6, atol=1e-6)
    close = {"rtol": 1e-5, "atol": 1e-5}
    assert_close(adapter.pair.A.grad, layer.lora_A["default"].weight.grad, **close)
    assert_close(adapter.pair.B.grad, layer.lora_B["default"].weight.grad, **close)
    assert_close(adapter.magnitude.offset.grad, magnitude.weight.grad, **close)


def test_worked_numbers():
    """(3, 4) + (0, −4) points to (1, 0) and keeps the length 5; with δ = 1 it has length 6."""
    where = replace(site(1, 2), weight=torch.tensor([[3.0, 4.0]]), bias=None)
    adapter = DoRA(where, DoRAConfig(rank=1, alpha=2.0))
    adapter.pair.A.data = torch.tensor([[0.0, 1.0]])
    adapter.pair.B.data = torch.tensor([[-2.0]])

    assert (where.weight + adapter.delta_weight()).tolist() == [[5.0, 0.0]]
    adapter.magnitude.offset.data += 1.0
    assert (where.weight + adapter.delta_weight()).tolist() == [[6.0, 0.0]]
    assert adapter(torch.tensor([[1.0, 1.0]]), torch.tensor([[7.0]])).tolist() == [[6.0]]


def test_the_norm_gets_no_gradient():
    """With a moving norm, B's gradient would have no part along the row; it has LoRA's."""
    where = site(4, 4)
    adapter, plain = DoRA(where, DoRAConfig(rank=2)), LoRA(where, LoRAConfig(rank=2))
    x = torch.randn(3, 4)
    y = x @ where.weight.T + where.bias

    adapter(x, y).square().sum().backward()
    plain(x, y).square().sum().backward()

    assert_close(adapter.pair.B.grad, plain.pair.B.grad)
    along = ((adapter.pair.B.grad @ adapter.pair.A.detach()) * where.weight).sum(dim=1)
    assert along.abs().min() > 1e-3


def test_weight_decay_leads_back_to_the_weight():
    """Decayed to nothing, every trained number gives W itself."""
    where = site()
    adapter = train_adapter(DoRA(where, DoRAConfig(rank=2)), 5)
    assert adapter.delta_weight().norm() > 0.1
    for parameter in adapter.parameters():
        parameter.data.zero_()

    assert not adapter.delta_weight().any()


def test_rows_of_zeros_and_of_cancelled_weights_stay_finite():
    """A row without length, and one that the pair takes away to the last digit."""
    where = site(3, 2)
    where.weight[0] = 0.0
    adapter = DoRA(where, DoRAConfig(rank=2, alpha=2.0))
    x = torch.randn(4, 2)
    y = x @ where.weight.T + where.bias
    assert torch.equal(adapter(x, y), y)
    adapter.pair.A.data = torch.eye(2)
    adapter.pair.B.data = -where.weight

    adapter(x, y).square().sum().backward()

    assert adapter.delta_weight().isfinite().all()
    assert all(p.grad.isfinite().all() for p in adapter.parameters())


def test_the_norm_is_exact_under_autocast():
    """The products that make it stay in float32."""
    magnitude = Magnitude(site())
    B, A = torch.randn(7, 2), torch.randn(2, 5)
    outside = magnitude.gain(B, *magnitude.against(A))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = magnitude.gain(B, *magnitude.against(A))

    assert torch.equal(inside, outside)


def test_impossible_settings_are_refused():
    """In sentences."""
    with pytest.raises(InputError, match="rank must be an integer of at least 1"):
        DoRAConfig(rank=0)
    with pytest.raises(InputError, match="alpha must be a finite number above 0"):
        configure("dora", {"alpha": -1.0})
    with pytest.raises(InputError, match="dora of rank 6 does not fit layer 'layer'"):
        DoRA(site(), DoRAConfig(rank=6))
