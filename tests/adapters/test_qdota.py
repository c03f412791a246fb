"""QDoTA: what it computes, how far it is from the base, and that the cores make that smaller."""

import pytest
import torch
from torch.testing import assert_close

from continual.adapters import attach, configure
from continual.adapters.base import Site
from continual.adapters.dota import DoTAConfig
from continual.adapters.mpo import dense
from continual.adapters.nf4 import dequantised, quantised
from continual.adapters.qdota import METHOD, QDoTA
from continual.errors import InputError
from continual.interop.peft import merged_state
from tests.adapters.models import One, adapted, inputs, site, train_adapter
from tests.linalg.spectra import with_spectrum


def power_law(n: int, decay: float) -> Site:
    """A weight whose k-th singular value is k^−decay."""
    spectrum = torch.arange(1.0, n + 1).pow(-decay).double().numpy()
    weight = torch.tensor(with_spectrum(n, n, spectrum, 1)).float()
    return Site(name="layer", weight=weight, share=1.0, seed=0)


@pytest.mark.parametrize("decay", [0.5, 1.0])
@pytest.mark.parametrize("cores", [2, 3])
def test_quantising_the_residual_loses_less_than_quantising_the_weight(decay, cores):
    """More so with every rank, on spectra that fall by a power."""
    where = power_law(128, decay)
    plain = dequantised(*quantised(where.weight), where.weight.shape) - where.weight

    errors = [plain.norm().item()]
    for rank in (4, 8, 12):
        adapter = QDoTA(where, DoTAConfig(rank=rank, cores=cores))
        errors.append(adapter.delta_weight().detach().norm().item())

    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]


def test_it_is_the_papers_formula():
    """Y = x (NF4(W − M(T⁰)) + M(T))ᵗ + b, W rounded once."""
    where = site(12, 8)
    adapter = train_adapter(QDoTA(where, DoTAConfig(rank=2)), 8)
    residual = where.weight - dense(adapter.moved.start())
    effective = dequantised(*quantised(residual), residual.shape) + dense(adapter.moved.now())
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))

    y = adapter(x, where.bias.expand(5, 12))

    assert_close(y, x @ effective.T + where.bias)
    assert_close(where.weight + adapter.delta_weight(), effective, rtol=1e-5, atol=1e-6)


def test_the_frozen_layer_is_not_computed_while_the_adapter_is_active():
    """Its weight could be anything; ``disabled()`` asks it again."""
    model = One("linear")
    adaptation = adapted("qdota", model, 1)
    x, counted = inputs(model), []
    adaptation.layers["layer"].base.register_forward_hook(lambda *_: counted.append(1))

    model(x)
    assert not counted
    with adaptation.disabled():
        model(x)
    assert counted == [1]


def test_a_fresh_one_differs_by_the_error_of_quantisation():
    """Within what the method declares, and not by nothing."""
    where = power_law(64, 0.5)
    error = QDoTA(where, DoTAConfig()).delta_weight().detach().norm() / where.weight.norm()

    assert 0.01 < error < METHOD.identity


def test_merged_weights_are_the_dequantised_sum():
    """What is exported is what was computed."""
    model = One("linear")
    adaptation = adapted("qdota", model, 2)

    merged = merged_state(adaptation)["layer.weight"]

    assert_close(merged, adaptation.adapters["layer"].effective().detach(), rtol=1e-6, atol=1e-6)


def test_codes_of_another_machine_are_kept():
    """A state is complete: its codes are used, not those that this weight would give here."""
    source, target = (adapted("qdota", One("linear"), tasks) for tasks in (2, 0))
    state = source.state()
    state["adapters.layer.codes"] = state["adapters.layer.codes"].flip(0)

    target.load_state(state)

    change = source.adapters["layer"].delta_weight() - target.adapters["layer"].delta_weight()
    assert change.norm() > 0.01
    assert torch.equal(target.adapters["layer"].codes, state["adapters.layer.codes"])


@pytest.mark.parametrize("kind", ["linear", "linear without bias", "conv1d"])
def test_the_output_has_the_dtype_of_the_layer(kind):
    """With a bias or without, in bfloat16."""
    model = One(kind, torch.bfloat16)
    expected = model(inputs(model, torch.bfloat16))
    attach(model, "qdota", DoTAConfig(rank=3), targets=["layer"])

    y = model(inputs(model, torch.bfloat16))

    assert y.dtype == torch.bfloat16
    assert (y - expected).norm() <= METHOD.identity * expected.norm()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DoTAConfig(rank=0), "DoTAConfig.rank must be an integer of at least 1; got 0"),
        (lambda: DoTAConfig(cores=1), "DoTAConfig.cores must be 2, 3 or 4; got 1"),
        (lambda: configure("qdota", {"split": "left"}), r"known: \['balanced', 'right'\]"),
        (lambda: QDoTA(site(), DoTAConfig(rank=6)), "qdota of rank 6 does not fit layer 'layer'"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    """With what is allowed."""
    with pytest.raises(InputError, match=message):
        build()
