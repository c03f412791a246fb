"""PiCa against the slow form of its equations, its counts and its sharing."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach, configure
from continual.adapters.base import Shared, Site
from continual.adapters.pica import PiCa, PiCaConfig, group_of
from continual.errors import InputError
from tests.adapters.models import TOKENS, adapt, adapter_of, llama, site


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6)])
def test_directions_are_singular_vectors_of_the_input_side(shape):
    """Numpy's right singular vectors of W, up to sign; the largest entry of each is positive."""
    where = site(*shape)
    rows = torch.linalg.svd(where.weight.double()).Vh[: min(shape)]

    for which, expected in (("top", rows[:3]), ("bottom", rows[-3:])):
        P = PiCa(where, PiCaConfig(rank=3, which=which)).P.double()
        assert_close((P @ expected.T).abs(), torch.eye(3).double(), rtol=0, atol=1e-5)
        assert (P.gather(1, P.abs().argmax(1, keepdim=True)) > 0).all()


def test_random_directions_are_orthonormal_and_the_layers_own():
    """Another seed gives another basis."""
    config = PiCaConfig(rank=3, which="random")
    first, second = PiCa(site(), config).P, PiCa(site(seed=4), config).P

    assert_close(first @ first.T, torch.eye(3), rtol=0, atol=1e-6)
    assert (first - second).norm() > 0.1


def test_directions_of_a_wide_weight_are_the_leading_ones():
    """Where Lanczos replaces the exact decomposition, too: W Pᵗ has the norms σ_1 … σ_r."""
    weight = torch.randn(520, 530, generator=torch.Generator().manual_seed(0))
    where = Site(name="a.q_proj", weight=weight, share=1.0, seed=0)

    P = PiCa(where, PiCaConfig(rank=4)).P

    assert_close((weight @ P.T).norm(dim=0), torch.linalg.svdvals(weight)[:4], rtol=1e-4, atol=0)


def test_the_gradient_of_a_shared_m_is_the_sum_of_projected_gradients():
    """∂L/∂M = Σ_i (∂L/∂W_i) P_iᵗ over the layers of a group."""
    model = nn.ModuleDict({"a": nn.ModuleDict(), "b": nn.ModuleDict()})
    for part in model.values():
        part["q"] = nn.Linear(5, 7)
    x = torch.randn(4, 5)
    dense = {name: model[name]["q"].weight.detach().clone().requires_grad_() for name in model}
    adaptation = attach(model, "pica", configure("pica", {"rank": 3}), targets=["q"])
    one, other = adaptation.adapters["a.q"], adaptation.adapters["b.q"]

    sum(model[name]["q"](x).pow(3).sum() for name in model).backward()
    biases = {name: model[name]["q"].bias for name in model}
    sum((x @ W.T + biases[name]).pow(3).sum() for name, W in dense.items()).backward()

    assert one.outputs is other.outputs
    assert_close(
        one.outputs.M.grad,
        dense["a"].grad @ one.P.T + dense["b"].grad @ other.P.T,
        rtol=1e-4,
        atol=1e-4,
    )


def test_counts_of_the_paper():
    """Gemma-2B: 5.37 M at r = 256, 0.67 M at r = 32; LLaMA-3-8B, all seven: 1.38 M at r = 32."""
    gemma = {"q_proj": 2048, "k_proj": 256, "v_proj": 256, "up_proj": 16384, "down_proj": 2048}
    llama3 = {"q_proj": 4096, "k_proj": 1024, "v_proj": 1024, "o_proj": 4096}
    llama3 |= {"gate_proj": 14336, "up_proj": 14336, "down_proj": 4096}

    def count(outputs: dict[str, int], layers: int, rank: int) -> int:
        shapes = {f"layers.{i}.{n}": (m, 2048) for i in range(layers) for n, m in outputs.items()}
        return PiCa.shared_numbers(PiCaConfig(rank=rank), 0, shapes)

    assert count(gemma, 18, 256) == 5_373_952
    assert count(gemma, 18, 32) == 671_744
    assert count(llama3, 32, 32) == 1_376_256


def test_groups_are_names_and_output_sizes():
    """The last part of the path as a whole: o_proj_2 is not o_proj; nor is another size."""
    assert group_of("layers.0.o_proj", 8) == group_of("layers.1.o_proj", 8)
    assert len({group_of("a.o_proj", 8), group_of("a.o_proj_2", 8), group_of("a.o_proj", 9)}) == 3


def test_what_is_shared_is_trained_and_saved_once():
    """Three groups of two layers: three M in trainable() and in the state, P for every layer."""
    adaptation = adapt("llama", "pica", tasks=1)
    state = adaptation.state()

    assert sum(name.endswith(".M") for name in adaptation.trainable()) == 3
    assert sum(name.endswith(".M") for name in state) == 3
    assert sum(name.endswith(".P") for name in state) == 6
    assert len(adaptation.adapters) == 6


def test_without_sharing_every_layer_has_its_own():
    """Two layers of three kinds have twice the numbers of three groups."""
    own = attach(llama(), "pica", PiCaConfig(rank=3, shared=False), model_type="llama")
    tied = attach(llama(), "pica", PiCaConfig(rank=3), model_type="llama")

    assert own.trained_numbers() == 2 * tied.trained_numbers() == 2 * 3 * (16 + 8 + 8)


def test_exported_factors_are_untied():
    """Writing into one layer's factors changes no other layer."""
    adaptation = adapt("llama", "pica", tasks=1)
    first, second = (a for n, a in adaptation.adapters.items() if n.endswith("q_proj"))
    before = second.delta_weight().detach().clone()

    first.factors()[0].zero_()

    assert torch.equal(second.delta_weight(), before)


def test_a_state_brings_its_directions_along():
    """Signs that another LAPACK would choose do not change the loaded function."""
    source = adapt("llama", "pica", tasks=1)
    for adapter in source.adapters.values():
        adapter.P.neg_()
    target = attach(
        llama(), "pica", PiCaConfig(rank=3), model_type="llama", seed=5, heads=nn.Linear(3, 2)
    )

    target.load_state(source.state())

    with torch.no_grad():
        found, expected = (a.model(input_ids=TOKENS).logits for a in (target, source))
    assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PiCaConfig(rank=0), "PiCaConfig.rank must be an integer of at least 1"),
        (lambda: PiCaConfig(which="botom"), "did you mean 'bottom'"),
        (lambda: adapter_of("pica", site(), rank=6), r"layer 'layer', whose weight is \(7, 5\)"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    """At construction; a rank that no layer can hold when it is built, not at the first step."""
    with pytest.raises(InputError, match=message):
        build()


def test_one_m_serves_sites_in_any_order():
    """A group's M is made by whoever comes first."""
    shared = Shared()
    names = ("a.v", "b.v")
    sites = [
        Site(name=n, weight=site(seed=k).weight, share=0.5, seed=k, shared=shared)
        for k, n in enumerate(names)
    ]
    config = PiCaConfig(rank=2)

    later, first = PiCa(sites[1], config), PiCa(sites[0], config)

    assert later.outputs is first.outputs
    assert not torch.equal(later.P, first.P)
