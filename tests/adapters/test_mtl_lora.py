"""MTL-LoRA against its formula, and what a sequence does to earlier tasks."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters.mtl_lora import MTLLoRA, MTLLoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


def learned(tasks, **settings):
    """An adapter after so many tasks, the last of them still current."""
    adapter = MTLLoRA(site(), MTLLoRAConfig(rank=2, alpha=3.0, **settings))
    for task in range(tasks):
        adapter.begin_task(task)
        train_adapter(adapter, 5, seed=task)
    return adapter


@pytest.mark.parametrize("core", ["full", "diagonal"])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_every_task_is_the_formula_of_the_paper(core, temperature):
    """Σ_j exp(w_j/τ) B_j / Σ_i exp(w_i/τ) · Λ_t A, number by number in float64."""
    adapter = learned(3, core=core, temperature=temperature)
    cores = [*adapter.ways.past_cores, adapter.ways.core.detach()]
    mixes = [*adapter.ways.past_mixes, adapter.ways.mix.detach()]
    for task, (own, mix) in enumerate(zip(cores, mixes, strict=True)):
        raw = [torch.exp(w.double() / temperature) for w in mix]
        B = sum(e * B_j.double() for e, B_j in zip(raw, adapter.B.detach(), strict=True)) / sum(raw)
        square = own.double() if core == "full" else torch.diag(own.double())
        expected = 1.5 * B @ square @ adapter.A.detach().double()
        adapter.serve(task)

        assert expected.norm() > 0.1
        assert_close(adapter.delta_weight().detach().double(), expected, rtol=1e-5, atol=1e-6)
        B_t, A_t = adapter.changes()[task]
        assert torch.equal(B_t @ A_t, adapter.delta_weight().detach())


def test_a_task_begins_with_the_identity_and_shares_of_its_own():
    """Λ = I; |w| at most 1/√k, another draw for every task."""
    adapter = learned(2, pool=4)
    before = adapter.ways.mix.detach().clone()
    adapter.begin_task(2)

    assert torch.equal(adapter.ways.core.detach(), torch.eye(2))
    assert adapter.ways.mix.abs().max() <= 0.5
    assert not torch.equal(adapter.ways.mix, before)
    assert (
        len(torch.stack([*adapter.ways.past_mixes, adapter.ways.mix.detach()]).unique(dim=0)) == 3
    )


def test_past_ways_are_frozen_and_what_they_share_goes_on_learning():
    """So earlier tasks answer otherwise after a later one has learned: no protection is claimed."""
    adapter = learned(1)
    adapter.begin_task(1)
    cores, mixes = adapter.ways.past_cores.clone(), adapter.ways.past_mixes.clone()
    adapter.serve(0)
    before = adapter.delta_weight().detach().clone()
    adapter.serve(None)
    train_adapter(adapter, 5, seed=1)
    adapter.serve(0)

    assert torch.equal(adapter.ways.past_cores, cores)
    assert torch.equal(adapter.ways.past_mixes, mixes)
    assert not torch.allclose(adapter.delta_weight(), before, atol=1e-2)


def test_a_task_that_has_not_begun_answers_as_the_backbone():
    """Zero until then."""
    adapter = learned(2)
    adapter.serve(2)

    assert not adapter.delta_weight().any()
    assert torch.equal(adapter(torch.ones(1, 5), torch.ones(1, 7)), torch.ones(1, 7))


def test_the_factors_of_the_pool_become_different():
    """They start alike, and the shares of the tasks pull them apart."""
    adapter = MTLLoRA(site(), MTLLoRAConfig(rank=2))
    assert len(adapter.B.detach().unique(dim=0)) == 1
    for task in range(3):
        adapter.begin_task(task)
        train_adapter(adapter, 5, steps=40, seed=task)

    B = adapter.B.detach()
    assert (B - B.mean(dim=0)).norm() > 0.1 * B.norm()


def test_one_factor_in_the_pool_and_no_core_to_learn_is_lora():
    """The pool of one has the share 1 at any temperature."""
    adapter = MTLLoRA(site(), MTLLoRAConfig(rank=2, alpha=3.0, pool=1))
    nn.init.normal_(adapter.B, generator=torch.Generator().manual_seed(0))

    assert_close(adapter.delta_weight(), 1.5 * adapter.B[0] @ adapter.A)


@pytest.mark.parametrize(("core", "count"), [("full", 9), ("diagonal", 3)])
def test_the_count_of_the_paper_is_what_learns(core, count):
    """R n + k m r + (r² or r) + k, in every task."""
    config = MTLLoRAConfig(rank=3, pool=4, core=core)
    adapter = MTLLoRA(site(), config)
    for task in range(3):
        adapter.begin_task(task)

        numbers = sum(p.numel() for p in adapter.parameters())
        assert numbers == 3 * 5 + 4 * 7 * 3 + count + 4
        assert numbers == MTLLoRA.trained_numbers(7, 5, config, task)


def test_a_damaged_past_is_refused():
    """Another shape than the settings need, or pieces that do not belong together."""
    adapter = learned(2)
    state = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    for name in ("ways.past_cores", "ways.past_mixes"):
        damaged = deepcopy(state)
        damaged[name] = damaged[name].repeat(2, *[1] * (damaged[name].dim() - 1))

        with pytest.raises(InputError, match="this adapter holds"):
            learned(1).restore(damaged, site().weight)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"temperature": 0.0},
            "MTLLoRAConfig.temperature must be a finite number above 0; got 0.0",
        ),
        ({"pool": 0}, "MTLLoRAConfig.pool must be an integer of at least 1"),
        ({"core": "diag"}, "did you mean 'diagonal'"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    """At construction; the published default of the temperature is zero, and divides."""
    with pytest.raises(InputError, match=message):
        MTLLoRAConfig(**settings)
