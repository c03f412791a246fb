"""Every method against the slow and obvious form of its own paper, and LoRA against PEFT."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import CURLoRAConfig, LoRAConfig, NLoRAConfig, SLoRAConfig, attach
from continual.adapters.absolute import absolute_sum
from continual.adapters.curlora import CURLoRA
from continual.adapters.inclora import IncLoRA, IncLoRAConfig
from continual.adapters.lora import LoRA
from continual.adapters.nlora import NLoRA
from continual.adapters.slora import SLoRA
from continual.errors import InputError
from tests.adapters.models import adapter_of, site, train_adapter


def test_lora_is_pefts_lora():
    """The same factors in PEFT's own layer give the same output and the same gradients."""
    import peft

    base = nn.Sequential(nn.Linear(6, 9))
    x = torch.randn(5, 6)
    theirs = peft.get_peft_model(
        nn.Sequential(nn.Linear(6, 9)),
        peft.LoraConfig(r=4, lora_alpha=8, target_modules=["0"]),
    )
    layer = theirs.base_model.model[0]
    layer.base_layer.load_state_dict(base[0].state_dict())
    adaptation = attach(base, "lora", LoRAConfig(rank=4, alpha=8.0), targets=["0"])
    pair = adaptation.adapters["0"].pair
    nn.init.normal_(pair.B)
    layer.lora_A["default"].weight.data = pair.A.data.clone()
    layer.lora_B["default"].weight.data = pair.B.data.clone()

    base(x).square().sum().backward()
    theirs(x).square().sum().backward()

    assert_close(base(x), theirs(x))
    assert_close(pair.A.grad, layer.lora_A["default"].weight.grad)
    assert_close(pair.B.grad, layer.lora_B["default"].weight.grad)


def test_lora_starts_as_peft_starts():
    """A is Kaiming-uniform with a = √5 over the inputs, so bounded by 1/√n; B is zero."""
    pair = LoRA(site(40, 400), LoRAConfig(rank=32)).pair

    assert not pair.B.any()
    assert 0.99 / 20 < pair.A.detach().abs().max().item() <= 1 / 20
    assert pair.A.detach().std().item() == pytest.approx(1 / 20 / 3**0.5, rel=0.02)


def test_curlora_gradient_is_the_chain_rule():
    """∂L/∂U = α Cᵗ (∂L/∂W) Rᵗ, with C and R taken from the weight itself."""
    where = site(9, 6)
    adapter = CURLoRA(where, CURLoRAConfig(rank=4, alpha=0.5))
    nn.init.normal_(adapter.cores.core)
    x, target = torch.randn(8, 6), torch.randn(8, 9)
    weight = (where.weight + adapter.delta_weight()).detach().requires_grad_()

    (adapter(x, x @ where.weight.T) - target).pow(3).sum().backward()
    (x @ weight.T - target).pow(3).sum().backward()

    C, R = where.weight[:, adapter.columns], where.weight[adapter.rows]
    assert len(set(adapter.columns.tolist())) == len(set(adapter.rows.tolist())) == 4
    assert_close(adapter.cores.core.grad, 0.5 * C.T @ weight.grad @ R.T, rtol=1e-4, atol=1e-4)


def test_curlora_counts_of_the_paper():
    """Mistral-7B q, k, v at r = 16: 24,576; GPT-2 large c_attn: 2,304 (r 8), 20,736 (r 24)."""
    mistral, gpt2 = CURLoRAConfig(rank=16), CURLoRAConfig(rank=8)

    assert (
        32
        * (
            CURLoRA.trained_numbers(4096, 4096, mistral, 0)
            + 2 * CURLoRA.trained_numbers(1024, 4096, mistral, 0)
        )
        == 24_576
    )
    assert 36 * CURLoRA.trained_numbers(3840, 1280, gpt2, 0) == 2_304
    assert 36 * CURLoRA.trained_numbers(3840, 1280, CURLoRAConfig(rank=24), 0) == 20_736


def test_lora_counts_of_the_papers():
    """GPT-2 large c_attn at r = 8: 1,474,560; ViT-B/16 q and v at r = 10: 368,640 + magnitudes."""
    assert 36 * LoRA.trained_numbers(3840, 1280, LoRAConfig(rank=8), 0) == 1_474_560
    slora = 12 * 2 * SLoRA.trained_numbers(768, 768, SLoRAConfig(rank=10), 4)
    assert slora == 368_640 + 24 * 5


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (1, 9), (9, 1), (16, 16)])
@pytest.mark.parametrize("block", [1, 6, 13, 20, 10_000])
def test_nlora_penalty_is_the_dense_one(shape, block):
    """Value and both gradients, for blocks that do not divide the rows."""
    m, n = shape
    generator = torch.Generator().manual_seed(0)
    B = torch.randn(m, 3, dtype=torch.float64, generator=generator).requires_grad_()
    A = torch.randn(3, n, dtype=torch.float64, generator=generator).requires_grad_()
    dense_B, dense_A = B.detach().clone().requires_grad_(), A.detach().clone().requires_grad_()

    blocked, dense = absolute_sum(B, A, block), (dense_B @ dense_A).abs().sum()
    (2.5 * blocked).backward()
    (2.5 * dense).backward()

    assert_close(blocked, dense)
    assert_close(B.grad, dense_B.grad)
    assert_close(A.grad, dense_A.grad)


def test_nlora_penalty_starts_at_zero_with_zero_gradient():
    """At B = 0 the subgradient is 0, as autograd has it."""
    adapter = NLoRA(site(), NLoRAConfig(rank=3))

    adapter.penalty().backward()

    assert adapter.penalty() == 0.0
    assert not adapter.pairs.pair.B.grad.any()
    assert not adapter.pairs.pair.A.grad.any()


def test_nlora_penalty_of_a_model_is_the_mean_over_all_adapted_numbers():
    """Layers of different sizes weigh by their size."""
    model = nn.Sequential(nn.Linear(4, 10), nn.Linear(10, 3))
    adaptation = attach(
        model, "nlora", NLoRAConfig(rank=2, alpha=6.0, lam=7.0), targets="all-linear"
    )
    for adapter in adaptation.adapters.values():
        nn.init.normal_(adapter.pairs.pair.B)

    changes = [a.delta_weight().flatten() for a in adaptation.adapters.values()]

    assert_close(adaptation.penalty(), 7.0 * torch.cat(changes).abs().mean())


def test_nlora_without_penalty_is_inclora_bit_for_bit():
    """Through three tasks of training, and far from the penalised one."""
    first = NLoRA(site(), NLoRAConfig(rank=3, lam=0.0))
    second = IncLoRA(site(), IncLoRAConfig(rank=3))
    third = NLoRA(site(), NLoRAConfig(rank=3, lam=1.0))
    for task in range(3):
        for adapter in (first, second, third):
            adapter.begin_task(task)
            train_adapter(adapter, 5, seed=task)

    assert torch.equal(first.delta_weight(), second.delta_weight())
    assert not torch.allclose(first.delta_weight(), third.delta_weight())


def test_nlora_penalty_makes_the_change_sparse():
    """More entries are small, relative to the largest, than without the penalty."""
    shares = []
    for lam in (0.0, 20.0):
        adapter = NLoRA(site(20, 20), NLoRAConfig(rank=4, lam=lam))
        train_adapter(adapter, 20, steps=150)
        change = adapter.delta_weight().detach().abs()
        shares.append((change < 0.01 * change.max()).float().mean())

    assert shares[1] > 2 * shares[0]


def test_slora_is_the_sum_of_the_paper():
    """Σ α_k D_k + α_t B_t A_t, with directions of norm one that stay as they were frozen."""
    adapter = SLoRA(site(), SLoRAConfig(rank=2))
    pairs = []
    for task in range(4):
        adapter.begin_task(task)
        train_adapter(adapter, 5, seed=task)
        pairs.append(adapter.pair.product().detach().double())

    magnitudes = adapter.magnitudes.values.detach().double()
    directions = [product / product.norm() for product in pairs[:-1]]
    expected = sum(a * d for a, d in zip(magnitudes[:-1], directions, strict=True))
    expected = expected + magnitudes[-1] * pairs[-1]

    assert_close(adapter.delta_weight().detach().double(), expected, rtol=1e-5, atol=1e-6)
    for k in range(3):
        B = adapter.directions.stack.B[:, 2 * k : 2 * k + 2]
        assert (B @ adapter.directions.stack.A[2 * k : 2 * k + 2]).norm() == pytest.approx(
            1.0, abs=1e-6
        )


def test_slora_trains_every_magnitude_and_no_past_direction():
    """Past magnitudes move, past factors keep every bit."""
    adapter = SLoRA(site(), SLoRAConfig(rank=2))
    for task in range(3):
        adapter.begin_task(task)
        train_adapter(adapter, 5, seed=task)
    adapter.begin_task(3)
    factors = adapter.directions.stack.A.clone(), adapter.directions.stack.B.clone()
    magnitudes = adapter.magnitudes.values.detach().clone()

    train_adapter(adapter, 5, seed=9)

    assert torch.equal(adapter.directions.stack.A, factors[0])
    assert torch.equal(adapter.directions.stack.B, factors[1])
    assert (adapter.magnitudes.values != magnitudes).all()
    assert magnitudes[-1] == pytest.approx(0.8)


def test_slora_moves_the_norm_into_the_magnitude():
    """α_k := α_t ‖B_t A_t‖_F."""
    adapter = SLoRA(site(), SLoRAConfig(rank=2))
    train_adapter(adapter, 5)
    norm = adapter.delta_weight().norm().item()

    adapter.begin_task(1)

    assert adapter.magnitudes.values.tolist() == pytest.approx([norm, 0.8])


def test_slora_keeps_a_place_for_a_direction_that_learned_nothing():
    """Its magnitude is zero, it gets no gradient, and nothing is divided by zero."""
    adapter = SLoRA(site(), SLoRAConfig(rank=2))
    adapter.begin_task(0)
    adapter.begin_task(1)
    train_adapter(adapter, 5)

    assert adapter.magnitudes.values.detach()[0] == 0.0
    assert adapter.delta_weight().isfinite().all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LoRAConfig(rank=0), "LoRAConfig.rank must be an integer of at least 1; got 0"),
        (lambda: IncLoRAConfig(alpha=-1.0), "IncLoRAConfig.alpha must be a finite number above 0"),
        (lambda: CURLoRAConfig(policy="min_nrm"), "did you mean 'min_norm'"),
        (lambda: NLoRAConfig(lam=-0.1), "NLoRAConfig.lam must be finite and at least 0"),
        (lambda: SLoRAConfig(magnitude=0.0), "SLoRAConfig.magnitude must be a finite number"),
        (lambda: adapter_of("curlora", site(), rank=6), r"layer 'layer', whose weight is \(7, 5\)"),
        (lambda: adapter_of("lora", site(), rank=6), "at most 5 is possible"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    """At construction, with the allowed range and the layer's name."""
    with pytest.raises(InputError, match=message):
        build()
