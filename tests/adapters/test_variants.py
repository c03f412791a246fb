"""Every option of the three methods against a slow, obvious form of the paper's equations."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach, configure
from continual.adapters.absolute import absolute_sum, sampled_absolute_sum
from continual.adapters.crossing import normalized
from continual.adapters.curlora import CURLoRA, CURLoRAConfig
from continual.adapters.nlora import NLoRA, NLoRAConfig
from continual.adapters.olora import OLoRA, OLoRAConfig
from continual.adapters.slora import SLoRA, SLoRAConfig
from continual.errors import InputError
from continual.linalg import POLICIES
from tests.adapters.models import (
    ADAPTERS,
    One,
    adapter_of,
    config_of,
    inputs,
    llama,
    logits,
    site,
    train_adapter,
)


def learned(adapter, tasks: int, n: int = 5):
    """The adapter after some tasks of training, the last one still current."""
    for task in range(tasks):
        adapter.begin_task(task)
        train_adapter(adapter, n, seed=task)
    return adapter


# ---- CURLoRA -------------------------------------------------------------------------------------


def published_indices(weight: torch.Tensor, k: int, seed: int) -> tuple[list[int], list[int]]:
    """What the published code draws on a CPU: columns, then rows, from numpy's global state."""
    np.random.seed(seed)
    found = []
    for dim in (0, 1):
        share = torch.sum(weight**2, dim=dim) / torch.sum(weight**2)
        inverted = (1 / (share + 0.001)).float()
        inverted = inverted / inverted.sum()
        found.append(
            np.random.choice(len(inverted), size=k, replace=True, p=inverted.numpy()).tolist()
        )
    return found[0], found[1]


@pytest.mark.parametrize("seed", range(40))
def test_published_selection_index_for_index(seed):
    """Repeats, the 0.001 and the order of the draws."""
    where = site(90, 60, seed=seed)

    adapter = CURLoRA(where, CURLoRAConfig(rank=16, compat="published"))

    columns, rows = published_indices(where.weight, 16, seed)
    assert adapter.columns.tolist() == columns
    assert adapter.rows.tolist() == rows


def test_some_published_selection_repeats_an_index():
    """Else the test above could not see it."""
    assert any(
        len(set(published_indices(site(90, 60, seed=s).weight, 16, s)[0])) < 16 for s in range(40)
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_every_selection_policy_makes_an_adapter(policy):
    """C and R are columns and rows of the weight, of the ranks asked for."""
    where = site(12, 9)
    adapter = learned(CURLoRA(where, CURLoRAConfig(rank=4, row_rank=3, policy=policy)), 1, 9)

    assert_close(adapter.C, where.weight[:, adapter.columns])
    assert_close(adapter.R, where.weight[adapter.rows])
    assert adapter.cores.core.shape == (4, 3)
    assert_close(adapter.delta_weight(), adapter.C @ adapter.cores.core @ adapter.R)


@pytest.mark.parametrize("alpha", [1.0, 2.5])
def test_orthonormal_bases_make_the_norm_that_of_the_core(alpha):
    """‖ΔW‖_F = α ‖U‖_F, and the span is that of the chosen columns and rows."""
    where = site(12, 9)
    config = CURLoRAConfig(rank=4, normalize="qr", alpha=alpha)
    adapter = learned(CURLoRA(where, config), 1, 9)
    delta, chosen = adapter.delta_weight(), where.weight[:, adapter.columns]

    assert_close(delta.norm(), alpha * adapter.cores.core.norm())
    inside = chosen @ torch.linalg.lstsq(chosen, delta).solution
    assert_close(inside, delta, rtol=1e-4, atol=1e-5)


def test_unit_columns_have_norm_one_and_empty_ones_stay_empty():
    """Zero divided by its norm is not NaN."""
    where = site(6, 6)
    where.weight[:, 2] = 0.0
    config = CURLoRAConfig(rank=6, normalize="unit", policy="min_norm")
    adapter = CURLoRA(where, config)

    norms = adapter.C.norm(dim=0)

    assert_close(norms, torch.where(adapter.columns == 2, 0.0, 1.0))


@pytest.mark.parametrize("normalize", ["none", "unit", "qr"])
def test_the_drift_is_the_squared_norm_of_the_change(normalize):
    """From Gram matrices, with the gradient of the dense form; λ of it is the penalty."""
    config = CURLoRAConfig(rank=4, row_rank=3, alpha=1.5, normalize=normalize, lam=0.7)
    adapter = learned(CURLoRA(site(12, 9), config), 1, 9)
    core = adapter.cores.core

    (cheap,) = torch.autograd.grad(adapter.penalty(), core)
    (dense,) = torch.autograd.grad(0.7 * adapter.delta_weight().square().sum(), core)

    assert_close(adapter.squared_norm(), adapter.delta_weight().square().sum())
    assert_close(cheap, dense)


def test_a_core_per_task_answers_for_its_task():
    """Old tasks keep their function; a task that has not begun is the backbone."""
    adapter = CURLoRA(site(8, 6), CURLoRAConfig(rank=3, cores="per_task"))
    changes = []
    for task in range(3):
        adapter.begin_task(task)
        assert not adapter.delta_weight().any()
        train_adapter(adapter, 6, seed=task)
        changes.append(adapter.delta_weight().detach().clone())

    for task in (0, 2, 1):
        adapter.serve(task)
        assert torch.equal(adapter.delta_weight(), changes[task])
    adapter.serve(3)
    assert not adapter.delta_weight().any()
    adapter.serve(None)
    assert torch.equal(adapter.delta_weight(), changes[2])


# ---- N-LoRA and O-LoRA ---------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("penalty", ["delta", "rr", "factors"])
def test_nlora_penalties_by_their_formulas(penalty, reduction):
    """Of the current pair alone."""
    config = NLoRAConfig(rank=3, alpha=6.0, lam=0.3, penalty=penalty, reduction=reduction)
    adapter = learned(NLoRA(site(6, 6), config), 2, 6)
    A, B = adapter.pairs.pair.A, adapter.pairs.pair.B
    sums = {
        "delta": (2.0 * B @ A).abs().sum() / (36 if reduction == "mean" else 1),
        "rr": (A @ B).abs().sum() / (36 if reduction == "mean" else 1),
        "factors": (A.abs().sum() + B.abs().sum()) / (36 if reduction == "mean" else 1),
    }

    assert_close(adapter.penalty(), 0.3 * sums[penalty])


def test_rr_needs_square_weights():
    """And says what to do instead."""
    with pytest.raises(InputError, match=r"'layer' is \(7, 5\). Use penalty 'delta'"):
        NLoRA(site(7, 5), NLoRAConfig(rank=2, penalty="rr"))


def test_sampled_rows_estimate_the_sum_without_bias():
    """The mean over many draws is the sum, in value and in gradient."""
    torch.manual_seed(0)
    B, A = torch.randn(12, 3, requires_grad=True), torch.randn(3, 8, requires_grad=True)
    whole = absolute_sum(B, A)
    (exact,) = torch.autograd.grad(whole, A)
    values, slopes = [], []
    for seed in range(3000):
        value = sampled_absolute_sum(B, A, 0.25, seed)
        (slope,) = torch.autograd.grad(value, A)
        values.append(float(value.detach()))
        slopes.append(slope)

    error = np.std(values) / np.sqrt(3000)
    assert abs(np.mean(values) - float(whole.detach())) < 4 * error
    spread = torch.stack(slopes).std(0) / 3000**0.5
    assert ((torch.stack(slopes).mean(0) - exact).abs() < 5 * spread).all()
    assert_close(sampled_absolute_sum(B, A, 1.0, 0), whole)


def test_the_proximal_step_gives_true_zeros():
    """Soft-thresholding by rate × λ: exact zeros in the factors, none with the subgradient."""
    zeros = {}
    for penalty in ("delta", "proximal"):
        adapter = NLoRA(site(20, 16), NLoRAConfig(rank=4, lam=0.4, penalty=penalty))
        x = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
        target = torch.randn(16, 20, generator=torch.Generator().manual_seed(1))
        optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.05, weight_decay=0.0)
        for _ in range(60):
            optimiser.zero_grad()
            loss = (adapter(x, torch.zeros_like(target)) - target).square().mean()
            (loss + adapter.penalty()).backward()
            optimiser.step()
            adapter.after_step(0.05)
        assert float(loss.detach()) < 0.8 * float(target.square().mean())  # and it has learned
        zeros[penalty] = int((adapter.pairs.pair.A == 0).sum() + (adapter.pairs.pair.B == 0).sum())

    assert zeros["delta"] == 0
    assert zeros["proximal"] > 20


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("penalty", ["squared", "published"])
def test_olora_penalties_by_their_formulas(penalty, normalize):
    """Summed over the past tasks one by one."""
    config = OLoRAConfig(
        rank=2,
        lam=0.5,
        lam_norm=0.1 if penalty == "published" else 0.0,
        penalty=penalty,
        normalize=normalize,
        reduction="sum",
    )
    adapter = learned(OLoRA(site(7, 9), config), 3, 9)
    rows = nn.functional.normalize if normalize else lambda x: x
    A, B = adapter.pairs.pair.A, adapter.pairs.pair.B
    overlaps = [rows(past) @ rows(A).T for past in adapter.pairs.stack.A.split(2)]
    if penalty == "squared":
        expected = 0.5 * sum(o.square().sum() for o in overlaps)
    else:
        expected = 0.5 * sum(o.abs().sum() for o in overlaps) + 0.1 * (A.norm() + B.norm())

    assert_close(adapter.penalty(), expected)


def test_olora_keeps_new_directions_orthogonal():
    """Much more than without the penalty."""
    overlaps = []
    for lam in (0.0, 50.0):
        adapter = OLoRA(site(12, 20), OLoRAConfig(rank=3, lam=lam))
        for task in range(2):
            adapter.begin_task(task)
            train_adapter(adapter, 20, steps=80, seed=task)
        past, current = adapter.pairs.stack.A, adapter.pairs.pair.A
        overlaps.append(float((past @ current.T).square().sum().detach()))

    assert overlaps[1] < 0.05 * overlaps[0]


# ---- S-LoRA --------------------------------------------------------------------------------------


def test_published_normalisation_divides_by_the_norms_of_the_factors():
    """‖B‖_F ‖A‖_F; the function still goes on unchanged."""
    adapter = learned(SLoRA(site(), SLoRAConfig(rank=2, normalize="factors")), 1)
    B, A = adapter.pair.B.detach().clone(), adapter.pair.A.detach().clone()
    before = adapter.delta_weight().detach()

    adapter.begin_task(1)

    assert_close(adapter.directions.stack.B, B / (B.norm() * A.norm()))
    assert_close(adapter.delta_weight(), before)


def test_a_published_restart_sets_every_magnitude_back():
    """And so the function jumps."""
    adapter = learned(SLoRA(site(), SLoRAConfig(rank=2, boundary="restart")), 2)
    before = adapter.delta_weight().detach()

    adapter.begin_task(2)

    assert adapter.magnitudes.values.tolist() == pytest.approx([0.8] * 3)
    assert not torch.allclose(adapter.delta_weight(), before, atol=1e-3)


def test_shared_magnitudes_are_one_vector_for_all_layers():
    """Counted and trained once, saved and loaded with every layer."""
    config = SLoRAConfig(rank=2, magnitudes="shared", boundary="restart")
    adaptation = attach(llama(), "slora", config, model_type="llama")
    for task in range(3):
        adaptation.begin_task(task)
    owners = {id(a.magnitudes.values) for a in adaptation.adapters.values()}
    names = [name for name in adaptation.trainable() if "magnitudes" in name]

    assert len(owners) == len(names) == 1
    assert adaptation.trainable()[names[0]].shape == (3,)
    with torch.no_grad():
        adaptation.trainable()[names[0]].copy_(torch.tensor([0.1, 0.2, 0.3]))
    again = attach(llama(), "slora", config, model_type="llama")
    again.load_state(adaptation.state())
    assert torch.equal(logits(again.model), logits(adaptation.model))
    again.begin_task(3)
    assert len(next(iter(again.adapters.values())).magnitudes.values) == 4


def test_rank_reduction_gives_later_tasks_smaller_pairs():
    """10 for tasks 0-1, 4 for task 2, 2 from task 3 on; the sum is still the paper's."""
    config = SLoRAConfig(rank=5, ranks=((2, 3), (3, 2)))
    adapter = SLoRA(site(12, 9), config)
    shapes, pairs = [], []
    for task in range(5):
        adapter.begin_task(task)
        train_adapter(adapter, 9, seed=task)
        shapes.append(adapter.pair.A.shape[0])
        pairs.append(adapter.pair.product().detach())
        expected = SLoRA.trained_numbers(12, 9, config, task)
        assert sum(p.numel() for p in adapter.parameters()) == expected

    magnitudes = adapter.magnitudes.values.detach()
    whole = sum(a * p / p.norm() for a, p in zip(magnitudes, pairs[:-1], strict=False))
    assert shapes == [5, 5, 3, 2, 2]
    assert_close(
        adapter.delta_weight().detach(), whole + magnitudes[-1] * pairs[-1], rtol=1e-4, atol=1e-5
    )
    other = SLoRA(site(12, 9), config)
    other.restore(adapter.state_dict(), site(12, 9).weight)
    assert torch.equal(other.delta_weight(), adapter.delta_weight())


def test_a_direction_in_the_span_of_the_old_ones_is_folded_into_them():
    """No growth, function kept within τ of the direction's size; others are kept as they are."""
    config = SLoRAConfig(rank=2, fold=1e-3)
    adapter = learned(SLoRA(site(12, 9), config), 3, 9)
    with torch.no_grad():  # the third task learned twice the first direction
        adapter.pair.A.copy_(adapter.directions.stack.A[:2])
        adapter.pair.B.copy_(2.0 * adapter.directions.stack.B[:, :2])
    before = adapter.delta_weight().detach()
    old = adapter.magnitudes.values.detach().clone()

    adapter.begin_task(3)

    values = adapter.magnitudes.values
    assert len(adapter.directions.ranks) == 2
    assert_close(values[0], old[0] + 2.0 * old[2], rtol=1e-4, atol=1e-5)
    assert_close(adapter.delta_weight().detach(), before, rtol=1e-4, atol=1e-5)
    adapter.begin_task(4)  # nothing learned: a change of zeros is in any span
    assert len(adapter.directions.ranks) == 2
    train_adapter(adapter, 9, seed=11)
    adapter.begin_task(5)  # a new direction is not
    assert len(adapter.directions.ranks) == 3


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("curlora", {"normalize": "l2"}, "unknown CURLoRAConfig.normalize 'l2'"),
        ("curlora", {"row_rank": 0}, "row_rank must be an integer of at least 1"),
        ("curlora", {"lam": -1.0}, "lam must be finite and at least 0"),
        ("nlora", {"penalty": "l1"}, "unknown NLoRAConfig.penalty 'l1'"),
        ("nlora", {"sampling": 1.5}, "share of rows"),
        ("nlora", {"sampling": 0.5, "penalty": "factors"}, "for penalty 'delta'"),
        ("nlora", {"penalty": "proximal", "lam": 1.0}, "lam must be below 1"),
        ("nlora", {"penalty": "proximal", "reduction": "sum"}, "there is no sum"),
        ("olora", {"lam_norm": 1.0}, "belongs to penalty 'published'"),
        ("olora", {"normalize": "banana"}, "method.normalize: got 'banana'"),
        ("curlora", {"compat": "published", "policy": "qdeim"}, "leave policy and normalize"),
        ("slora", {"fold": 0.1, "boundary": "restart"}, "give one"),
        ("slora", {"ranks": ((1, 2), (1, 4))}, "must rise by first task"),
        ("slora", {"ranks": 5}, "method.ranks: got 5"),
        ("lora", {"alpha": "abc"}, "method.alpha: got 'abc'"),
        ("lora", {"alpha": None}, "method.alpha: got None"),
        ("olora", {"penalty": "paper"}, "unknown OLoRAConfig.penalty"),
        ("slora", {"magnitudes": "shared"}, "give boundary='restart'"),
        ("slora", {"ranks": ((3, 2), (1, 4))}, "must rise by first task"),
        ("slora", {"fold": -0.1}, "fold must be finite and at least 0"),
    ],
)
def test_impossible_settings_are_refused(method, settings, message):
    """When the config is made."""
    with pytest.raises(InputError, match=message):
        configure(method, settings)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("curlora", {"normalize": "qr", "row_rank": 2}),
        ("curlora", {"cores": "per_task"}),
        ("curlora", {"compat": "published"}),
        ("slora", {"ranks": ((1, 2),)}),
        ("slora", {"fold": 0.5}),
        ("slora", {"magnitudes": "shared", "boundary": "restart"}),
        ("nlora", {"penalty": "proximal"}),
    ],
)
def test_variants_are_saved_and_loaded_whole(method, settings):
    """Law 5 for the options: the same function bit for bit."""
    config = configure(method, {"rank": 3} | settings)

    def make():
        model = One("linear")
        return model, attach(model, method, config, targets=["layer"], seed=5)

    model, adaptation = make()
    for task in range(3):
        adaptation.begin_task(task)
        train_adapter(adaptation.adapters["layer"], 5, seed=task)
    other, again = make()
    again.load_state(adaptation.state())

    for task in (None, 0, 1):
        for one in (adaptation, again):
            one.adapters["layer"].serve(task)
        assert torch.equal(model(inputs(model)), other(inputs(other)))


def test_every_rank_of_a_schedule_is_checked_at_once():
    """Not when its task begins, days later."""
    with pytest.raises(InputError, match="rank 100 does not fit layer 'layer'"):
        SLoRA(site(6, 6), SLoRAConfig(rank=2, ranks=((2, 100),)))


def test_a_weight_whose_weakest_columns_are_zero_is_refused():
    """CURLoRA would choose exactly those, and could change nothing."""
    where = site(12, 10)
    where.weight[:, :6] = 0.0
    with pytest.raises(InputError, match=r"all columns that curlora chose .* are zero"):
        CURLoRA(where, CURLoRAConfig(rank=3))

    assert CURLoRA(where, CURLoRAConfig(rank=3, policy="qdeim")).C.any()


def test_qr_gives_a_basis_of_the_span_and_no_more():
    """Repeated and zero columns have no direction of their own."""
    columns = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    columns[:, 2], columns[:, 3] = columns[:, 0], 0.0
    basis = normalized(columns, "qr")

    assert_close(basis.T @ basis, torch.diag(torch.tensor([1.0, 1.0, 0.0, 0.0])))
    assert_close(basis @ (basis.T @ columns), columns)


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_changes_of_the_tasks_make_up_the_whole(name):
    """Their sum is ΔW; with a function per task, the last is the current one.

    There are none where ΔW has no low rank.
    """
    adapter = learned(adapter_of(name, site(7, 6)), 3, 6)
    changes = [B @ A for B, A in adapter.changes()]
    whole = adapter.delta_weight().detach()

    if not changes:
        assert adapter.factors() is None
    elif type(adapter).needs_task(config_of(name)):
        assert_close(changes[-1], whole)
        adapter.serve(0)
        assert_close(changes[0], adapter.delta_weight().detach())
    else:
        assert_close(torch.stack(changes).sum(0), whole, rtol=1e-5, atol=1e-6)
