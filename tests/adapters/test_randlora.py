"""RandLoRA against its formula, PEFT, and what sharing matrices must not do."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import METHODS, attach
from continual.adapters.randlora import RandLoRA, RandLoRAConfig
from continual.adapters.streams import Bases
from continual.errors import InputError
from tests.adapters.models import adapt, site

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _same_numbers():
    torch.manual_seed(0)


def moved(adapter):
    """Any scales in place of the first ones."""
    nn.init.normal_(adapter.Lambda)
    nn.init.normal_(adapter.Gamma)
    return adapter


@pytest.mark.parametrize("shape", [(9, 6), (6, 9), (7, 7), (5, 1)])
@pytest.mark.parametrize("rank", [1, 4])
def test_it_is_the_sum_of_the_paper(shape, rank):
    """Σ B_i Λ_i A Γ_i, one product after another; transposed for a wide weight."""
    rank = min(rank, *shape)
    adapter = moved(RandLoRA(site(*shape), RandLoRAConfig(rank=rank, alpha=0.5)))
    A, B = adapter.bases.take(*adapter.size)
    count = len(adapter.Lambda)

    expected = sum(
        B[:, i * rank : (i + 1) * rank] @ adapter.Lambda[i].diag() @ A @ adapter.Gamma[i].diag()
        for i in range(count)
    )
    expected = 0.5 * (expected if shape[0] >= shape[1] else expected.T)

    assert (count - 1) * rank < min(shape) <= count * rank
    assert_close(adapter.delta_weight(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_randlora_is_pefts_randlora(shape):
    """The same matrices and scales in PEFT's own layer: outputs and gradients.

    PEFT counts the columns of B by base, then rank, and the rows of A by rank, then base; its B
    is filled so that each column meets the row it belongs to.
    """
    import peft

    base, x = nn.Sequential(nn.Linear(*shape)), torch.randn(5, shape[0])
    theirs = peft.get_peft_model(
        nn.Sequential(nn.Linear(*shape)),
        peft.RandLoraConfig(r=2, randlora_alpha=6, target_modules=["0"]),
    )
    layer = theirs.base_model.model[0]
    layer.base_layer.load_state_dict(base[0].state_dict())
    adaptation = attach(base, "randlora", RandLoRAConfig(rank=2, alpha=3.0), targets=["0"])
    ours = adaptation.adapters["0"]
    assert layer.randlora_gamma["default"][0, 0].item() == ours.Gamma[0, 0].item()
    moved(ours)
    A, B = ours.bases.take(*ours.size)
    layer.randlora_A["default"] = A[:, None, :].clone()
    by_rank = B.reshape(9, 3, 2).transpose(1, 2)
    layer.randlora_B["default"] = by_rank.reshape(9, 3, 2).clone()
    layer.randlora_lambda["default"].data = ours.Lambda.data.T.clone()
    layer.randlora_gamma["default"].data = ours.Gamma.data.clone()

    base(x).square().mean().backward()
    theirs(x).square().mean().backward()

    expected = theirs(x).detach()
    assert_close(base(x).detach(), expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
    close = {"rtol": 1e-4, "atol": 1e-4}
    assert_close(ours.Lambda.grad.T, layer.randlora_lambda["default"].grad, **close)
    assert_close(ours.Gamma.grad, layer.randlora_gamma["default"].grad, **close)


def test_the_change_reaches_full_rank():
    """Which no pair of as few numbers does: 3 (2 + 6) trained ones here, and rank 6."""
    adapter = moved(RandLoRA(site(9, 6), RandLoRAConfig(rank=2)))

    assert torch.linalg.matrix_rank(adapter.delta_weight()) == 6
    assert RandLoRA.trained_numbers(9, 6, RandLoRAConfig(rank=2), 0) == 24
    assert RandLoRA.trained_numbers(768, 768, RandLoRAConfig(), 0) == 24 * (32 + 768)


def test_what_a_weight_gets_does_not_depend_on_the_others():
    """Small ones first or last: the matrices of each size are the same, and held once."""
    first, second = Bases(7, 3, CPU), Bases(7, 3, CPU)
    sizes = [(5, 9, 2), (12, 14, 4), (8, 30, 3)]

    forwards = [first.take(*size) for size in sizes]
    backwards = [second.take(*size) for size in reversed(sizes)][::-1]

    for (A, B), (other_A, other_B) in zip(forwards, backwards, strict=True):
        assert torch.equal(A, other_A)
        assert torch.equal(B, other_B)
    assert not torch.equal(Bases(8, 3, CPU).take(5, 9, 2)[0], forwards[0][0])


def test_entries_are_uniform_of_variance_one_and_independent():
    """Between −√3 and √3; the columns of one matrix are not those of the next."""
    _, B = Bases(0, 8, CPU).take(64, 4000, 8)

    assert B.abs().max().item() == pytest.approx(3**0.5, abs=1e-3)
    assert B.mean().item() == pytest.approx(0.0, abs=0.01)
    assert B.square().mean().item() == pytest.approx(1.0, abs=0.01)
    assert (B.T @ B / 4000 - torch.eye(64)).abs().max() < 0.08


def test_a_model_holds_them_once_and_saves_none():
    """Every weight refers to the same matrices; the state has scales, seed and hash."""
    adaptation = adapt("llama", "randlora")
    adapters = list(adaptation.adapters.values())

    assert len({id(adapter.bases) for adapter in adapters}) == 1
    kinds = {name.rsplit(".", 1)[1] for name in adaptation.state() if name.startswith("adapters")}
    assert kinds == {"Lambda", "Gamma", "seed", "digest"}


def test_a_state_brings_its_seed():
    """Attached under another seed, it is the function it was saved with."""
    x, first = torch.randn(4, 6), nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 5))
    networks = [first, deepcopy(first)]
    config = RandLoRAConfig(rank=2)
    source, target = (
        attach(network, "randlora", config, targets="all-linear", seed=seed)
        for seed, network in enumerate(networks)
    )
    for adapter in source.adapters.values():
        moved(adapter)
    assert not torch.equal(source.adapters["0"].bases.A, target.adapters["0"].bases.A)

    target.load_state(source.state())

    assert torch.equal(networks[0](x), networks[1](x))
    assert source.state_hash() == target.state_hash()


def test_matrices_of_another_kind_are_refused():
    """A hash that does not fit names the layer and a way out."""
    adapter = RandLoRA(site(), RandLoRAConfig(rank=2))
    state = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    state["digest"][0] += 1

    with pytest.raises(InputError, match="seed 0 at layer 'layer' are not those"):
        adapter.restore(state, site().weight)


def test_impossible_settings_are_refused():
    """In sentences."""
    with pytest.raises(InputError, match="alpha must be a finite number above 0"):
        RandLoRAConfig(alpha=float("inf"))
    with pytest.raises(InputError, match="randlora of rank 32 does not fit layer 'layer'"):
        RandLoRA(site(), METHODS["randlora"].config())
