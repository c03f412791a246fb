"""LoRETTA against its chains entry by entry, its counts and its start."""

import itertools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import configure
from continual.adapters.lora import LoRA, LoRAConfig
from continual.adapters.loretta import LoRETTA, LoRETTAConfig
from continual.errors import InputError
from tests.adapters.models import adapter_of, site, train_adapter


def entries(cores, rank: int) -> torch.Tensor:
    """(r, size): G_0[ρ] G_1[j_1] … entry by entry, from cores without their axes of one."""
    flat = [c.detach().double().reshape(c.shape[0], -1, c.shape[3]) for c in cores]
    rows = []
    for rho in range(rank):
        row = []
        for j in itertools.product(*(range(core.shape[1]) for core in flat[1:])):
            part = flat[0][:, rho]
            for core, digit in zip(flat[1:], j, strict=True):
                part = part @ core[:, digit]
            row.append(part.item())
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize(("m", "n"), [(12, 18), (7, 5), (30, 8)])
@pytest.mark.parametrize("digits", [2, 3, 4])
def test_the_factors_are_the_chains_of_the_paper(m, n, digits):
    """ΔW = (α / r) B A with every entry of B and A a product of small matrices."""
    config = LoRETTAConfig(rank=4, alpha=6.0, tensor_rank=3, digits=digits)
    adapter = train_adapter(LoRETTA(site(m, n), config), n)

    expected = 1.5 * entries(adapter.B, 4).T @ entries(adapter.A, 4)

    assert expected.norm() > 1e-3
    assert_close(adapter.delta_weight().detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_it_can_be_any_lora():
    """At full tensor ranks, B and A are arbitrary: here LoRA's own, fitted exactly."""
    where = site(6, 4)
    lora = LoRA(where, LoRAConfig(rank=2, alpha=4.0))
    nn.init.normal_(lora.pair.B)
    adapter = LoRETTA(where, LoRETTAConfig(rank=2, alpha=4.0, tensor_rank=24, digits=2))
    optimiser = torch.optim.LBFGS(adapter.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = (adapter.delta_weight() - lora.delta_weight().detach()).square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    assert_close(adapter.delta_weight(), lora.delta_weight(), rtol=1e-3, atol=1e-3)


def test_only_the_last_core_of_b_starts_at_zero():
    """So the change is zero, and that core alone gets a gradient at first."""
    adapter = adapter_of("loretta", site(12, 18))
    x = torch.randn(5, 18, generator=torch.Generator().manual_seed(0))

    adapter(x, torch.zeros(5, 12)).square().sum().backward()
    assert not any(core.grad.any() for core in adapter.parameters())
    (adapter(x, torch.zeros(5, 12)) - 1.0).square().sum().backward()

    assert not adapter.B[-1].any()
    assert all(core.all() for core in [*adapter.A, *adapter.B[:-1]])
    assert [bool(core.grad.any()) for core in adapter.B] == [False, False, False, True]


def test_the_other_cores_are_drawn_as_published():
    """The entries of A have variance 1 / (n + r), over many seeds."""
    squares = []
    for seed in range(200):
        adapter = LoRETTA(site(16, 64, seed=seed), LoRETTAConfig(rank=8))
        squares.append(adapter.factors()[1].square().mean())

    assert torch.stack(squares).mean().item() == pytest.approx(1 / 72, rel=0.1)


def test_counts():
    """4096 × 4096 at r = 8, R = 5: twice 40 + 400 + 400 + 80, a 35th of LoRA's."""
    config = LoRETTAConfig()

    assert LoRETTA.trained_numbers(4096, 4096, config, 3) == 1_840
    assert LoRETTA.trained_numbers(768, 768, config, 0) == 1_000
    assert LoRA.trained_numbers(4096, 4096, LoRAConfig(rank=8), 0) == 65_536


def test_a_prime_size_is_one_core():
    """The other digits are ones, and the core of B that starts at zero is the large one."""
    B, A = LoRETTAConfig(rank=3, tensor_rank=5).shapes(7, 5)

    assert B == [(1, 1, 3, 3), (3, 1, 1, 3), (3, 1, 1, 3), (3, 7, 1, 1)]
    assert A == [(1, 3, 1, 3), (3, 1, 1, 3), (3, 1, 1, 3), (3, 1, 5, 1)]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LoRETTAConfig(rank=0), "LoRETTAConfig.rank must be an integer of at least 1"),
        (lambda: LoRETTAConfig(alpha=0.0), "LoRETTAConfig.alpha must be a finite number above 0"),
        (lambda: LoRETTAConfig(tensor_rank=True), "LoRETTAConfig.tensor_rank must be an integer"),
        (lambda: LoRETTAConfig(digits=6), "LoRETTAConfig.digits must be 2, 3 or 4; got 6"),
        (lambda: configure("loretta", {"cores": 3}), "method.cores: unknown option"),
        (lambda: adapter_of("loretta", site(), rank=6), "loretta of rank 6 does not fit"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    """With what is allowed."""
    with pytest.raises(InputError, match=message):
        build()
