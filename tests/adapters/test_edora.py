"""EDoRA against its formula and NumPy's decomposition."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import METHODS, attach
from continual.adapters.edora import EDoRA, EDoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


@pytest.fixture(autouse=True)
def _same_numbers():
    torch.manual_seed(0)


def test_the_changed_weight_is_that_of_the_paper():
    """μ (W + α U R Σ Vᵗ) / ‖·‖ with NumPy's singular triplets, whose signs may be turned."""
    where = site(9, 6)
    adapter = EDoRA(where, EDoRAConfig(rank=3, alpha=0.5))
    nn.init.normal_(adapter.R)
    nn.init.normal_(adapter.magnitude.offset, std=0.1)
    W = where.weight.double().numpy()
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    U, s, Vt = U[:, :3], s[:3], Vt[:3]
    signs = np.sign((U * adapter.U.numpy()).sum(axis=0))
    core = adapter.R.detach().double().numpy()

    direction = W + 0.5 * (U * signs) @ core @ (signs[:, None] * s[:, None] * Vt)
    magnitude = np.linalg.norm(W, axis=1) + adapter.magnitude.offset.detach().double().numpy()
    expected = magnitude[:, None] * direction / np.linalg.norm(direction, axis=1)[:, None]

    changed = (where.weight + adapter.delta_weight()).double()
    assert_close(changed, torch.from_numpy(expected), rtol=1e-5, atol=1e-5)


def test_it_starts_near_the_weight_and_not_at_it():
    """By about 1e-5 of it, as R ~ N(0, 1e-5²) makes it; within what the method declares."""
    where = site(64, 48)
    adapter = EDoRA(where, EDoRAConfig(rank=16))

    moved = adapter.delta_weight().norm() / where.weight.norm()

    assert 1e-6 < moved < 1e-4 < METHODS["edora"].identity
    assert adapter.R.detach().std().item() == pytest.approx(1e-5, rel=0.2)


def test_only_the_core_and_the_magnitudes_learn():
    """The singular vectors keep every bit; r² + m numbers."""
    adapter = EDoRA(site(), EDoRAConfig(rank=3))
    U, A = adapter.U.clone(), adapter.A.clone()

    train_adapter(adapter, 5)

    assert {n: tuple(p.shape) for n, p in adapter.named_parameters()} == {
        "R": (3, 3),
        "magnitude.offset": (7,),
    }
    assert torch.equal(adapter.U, U)
    assert torch.equal(adapter.A, A)


def test_saved_singular_vectors_are_used_whatever_the_library_says():
    """A state whose vectors are turned gives the function it was saved with."""
    x = torch.randn(4, 6)

    def network():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 9))

    source, target = network(), network()
    saved = attach(source, "edora", EDoRAConfig(rank=2), targets=["0"])
    adapter = saved.adapters["0"]
    nn.init.normal_(adapter.R)
    state = saved.state()
    expected = source(x)
    for name, turned in (("U", -adapter.U), ("A", -adapter.A)):
        state[f"adapters.0.{name}"] = turned
    other = attach(target, "edora", EDoRAConfig(rank=2), targets=["0"])

    other.load_state(state)

    assert_close(target(x), expected)
    assert torch.equal(other.adapters["0"].U, -adapter.U)


def test_impossible_settings_are_refused():
    """In sentences."""
    with pytest.raises(InputError, match="alpha must be a finite number above 0"):
        EDoRAConfig(alpha=0.0)
    with pytest.raises(InputError, match="edora of rank 16 does not fit layer 'layer'"):
        EDoRA(site(), EDoRAConfig())
