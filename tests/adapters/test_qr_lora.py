"""QR-LoRA against PEFT's OLoRA and PiSSA, and what it promises about its start."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach
from continual.adapters.qr_lora import QRLoRA, QRLoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


@pytest.fixture(autouse=True)
def _same_numbers():
    torch.manual_seed(0)


@pytest.mark.parametrize(("start", "initialisation"), [("qr", "olora"), ("svd", "pissa")])
@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_it_is_pefts(start, initialisation, shape):
    """PEFT's pair starts where ours does; the same change of both factors is the same function.

    Singular values lie apart, so that the rounding of two libraries turns no singular vector.
    """
    import peft

    base, x = nn.Sequential(nn.Linear(*shape)), torch.randn(5, shape[0])
    U, _, Vt = torch.linalg.svd(base[0].weight.detach(), full_matrices=False)
    base[0].weight.data = U @ torch.linspace(1.5, 0.25, 6).diag() @ Vt
    theirs = nn.Sequential(nn.Linear(*shape))
    theirs.load_state_dict(base.state_dict())
    theirs = peft.get_peft_model(
        theirs,
        peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"], init_lora_weights=initialisation),
    )
    layer = theirs.base_model.model[0]
    before = base(x).detach()
    adaptation = attach(base, "qr-lora", QRLoRAConfig(rank=4, alpha=8.0, start=start), targets="0")
    adapter = adaptation.adapters["0"]
    B, A = layer.lora_B["default"].weight, layer.lora_A["default"].weight
    signs = (B.detach() * adapter.start_B).sum(dim=0).sign()
    assert_close(adapter.start_B, B.detach() * signs, rtol=1e-5, atol=1e-5)
    assert_close(adapter.start_A, A.detach() * signs[:, None], rtol=1e-5, atol=1e-5)
    for parameter in (adapter.B, adapter.A):
        nn.init.normal_(parameter, std=0.1)
    B.data += adapter.B.detach() * signs
    A.data += adapter.A.detach() * signs[:, None]

    expected = theirs(x).detach()
    assert_close(base(x).detach(), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    assert (base(x) - before).abs().max() > 0.1


def test_the_change_is_now_minus_start():
    """ΔW = s (B A − B⁰ A⁰), with factors of rank 2 r."""
    adapter = train_adapter(QRLoRA(site(), QRLoRAConfig(rank=2, alpha=3.0)), 5)
    start = adapter.start_B @ adapter.start_A
    now = (adapter.start_B + adapter.B) @ (adapter.start_A + adapter.A)
    B, A = adapter.factors()

    assert_close(adapter.delta_weight(), 1.5 * (now - start), rtol=1e-5, atol=1e-5)
    assert B.shape[1] == A.shape[0] == 4
    assert torch.linalg.matrix_rank(adapter.delta_weight()) == 4


def test_the_qr_start_reproduces_the_first_columns():
    """B⁰ is orthonormal, A⁰ triangular with a positive diagonal, and B⁰ A⁰ has W's columns."""
    where = site(9, 6)
    adapter = QRLoRA(where, QRLoRAConfig(rank=3))
    B, A = adapter.start_B, adapter.start_A

    assert_close(B.T @ B, torch.eye(3), rtol=0.0, atol=1e-6)
    assert_close((B @ A)[:, :3], where.weight[:, :3])
    assert A[:, :3].tril(-1).abs().max() < 1e-6
    assert (A.diagonal() > 0).all()


def test_the_singular_start_is_the_best_of_its_rank():
    """S B⁰ A⁰ leaves exactly the trailing singular values, shared alike between both factors."""
    where = site(9, 6)
    adapter = QRLoRA(where, QRLoRAConfig(rank=2, alpha=5.0, start="svd"))
    values = torch.linalg.svdvals(where.weight)

    left = where.weight - 2.5 * adapter.start_B @ adapter.start_A

    assert_close(left.norm(), values[2:].norm())
    assert_close(adapter.start_B.norm(dim=0), adapter.start_A.norm(dim=1))


def test_weight_decay_leads_back_to_the_start():
    """The distances from the start are what learns and decays."""
    adapter = train_adapter(QRLoRA(site(), QRLoRAConfig(rank=2)), 5)
    assert adapter.delta_weight().norm() > 0.1
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.5, weight_decay=1.0)
    for parameter in adapter.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for _ in range(60):
        optimiser.step()

    assert adapter.delta_weight().abs().max() < 1e-6


def test_impossible_settings_are_refused():
    """In sentences."""
    with pytest.raises(InputError, match=r"unknown QRLoRAConfig\.start 'qt'"):
        QRLoRAConfig(start="qt")
    with pytest.raises(InputError, match="qr-lora of rank 6 does not fit layer 'layer'"):
        QRLoRA(site(), QRLoRAConfig(rank=6))
