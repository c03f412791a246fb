"""DoTA against the sum over digits, the paper's residual form, and what it claims."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach, configure
from continual.adapters.dota import DoTA, DoTAConfig
from continual.adapters.mpo import Moved, apply, dense, digits, numbers, shapes
from continual.errors import InputError
from tests.adapters.models import One, adapted, adapter_of, site, train_adapter


def summed(cores) -> torch.Tensor:
    """M entry by entry: the product of the matrices T_k[i_k, j_k]."""
    outputs, inputs = ([core.shape[axis] for core in cores] for axis in (1, 2))
    matrix = torch.zeros(math.prod(outputs), math.prod(inputs), dtype=torch.float64)
    rows = itertools.product(*map(range, outputs))
    for row, i in enumerate(rows):
        for column, j in enumerate(itertools.product(*map(range, inputs))):
            part = torch.ones(1, 1, dtype=torch.float64)
            for k, core in enumerate(cores):
                part = part @ core[:, i[k], j[k]].double()
            matrix[row, column] = part.item()
    return matrix


@pytest.mark.parametrize("count", [2, 3, 4])
@pytest.mark.parametrize("split", ["right", "balanced"])
def test_the_change_is_the_difference_of_two_trains(count, split):
    """M(T⁰ + D) − M(T⁰) entry by entry, for digits that differ everywhere."""
    adapter = DoTA(site(12, 30), DoTAConfig(rank=3, cores=count, split=split))
    train_adapter(adapter, 30)

    now, start = adapter.moved.now(), adapter.moved.start()

    expected = summed([core.detach() for core in now]) - summed(start)
    assert expected.norm() > 0.1
    assert_close(adapter.delta_weight().detach().double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("split", ["right", "balanced"])
def test_the_start_is_the_tensor_train_of_the_weight(split):
    """Without truncation it is W; with it, no worse than √(N − 1) times the best cut."""
    where = site(12, 18)
    whole = dense(DoTA(where, DoTAConfig(rank=12, cores=2, split=split)).moved.start())
    cut = dense(DoTA(where, DoTAConfig(rank=4, cores=3, split=split)).moved.start())
    outputs, inputs = digits(12, 18, 3)
    tensor = where.weight.reshape(*outputs, *inputs).permute(0, 3, 1, 4, 2, 5)
    pairs = [i * j for i, j in zip(outputs, inputs, strict=True)]
    tails = [
        torch.linalg.svdvals(tensor.reshape(math.prod(pairs[:k]), -1))[4:].square().sum()
        for k in (1, 2)
    ]

    assert_close(whole, where.weight, rtol=1e-5, atol=1e-5)
    error = (cut - where.weight).square().sum()
    assert max(tails) * 0.999 <= error <= sum(tails) * 1.001


def test_where_the_singular_values_go():
    """Right: all cores but the last are orthonormal. Balanced: both sides of a cut weigh alike."""
    right = Moved(site(16, 16), 4, 2, "right").start()
    even = Moved(site(16, 16), 4, 2, "balanced").start()

    flat = right[0].reshape(-1, right[0].shape[3])
    assert_close(flat.T @ flat, torch.eye(4))
    assert right[1].norm() > 2 * right[0].norm()
    assert_close(even[0].norm(), even[1].norm())
    assert_close(dense(even), dense(right), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_few_inputs_go_through_the_cores_and_many_through_the_matrix(count):
    """Both give x ΔWᵗ and the same gradients; only the first leaves the matrix unformed."""
    adapter = DoTA(site(192, 128), DoTAConfig(rank=4, cores=count))
    for offset in adapter.moved.offsets:
        nn.init.normal_(offset, std=0.1)
    sizes, gradients = {}, {}
    for rows in (2, 3):  # 64 rows of outputs per input are the border
        x = torch.randn(rows, 128, generator=torch.Generator().manual_seed(rows))
        change = adapter.moved.change()
        with Largest() as seen:
            out = apply(change, x)
        sizes[rows] = seen.size
        assert_close(out, x @ dense(change).T, rtol=1e-4, atol=1e-4)
        out.sum().backward()
        gradients[rows] = [p.grad.clone() for p in adapter.parameters()]
        adapter.zero_grad()
        (x @ adapter.delta_weight().T).sum().backward()
        for ours, p in zip(gradients[rows], adapter.parameters(), strict=True):
            assert_close(ours, p.grad, rtol=1e-3, atol=1e-3)
        adapter.zero_grad()

    assert sizes[2] < 192 * 128 <= sizes[3]


class Largest(torch.overrides.TorchFunctionMode):
    """Notes the size of the largest tensor that is made."""

    size = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.size = max(self.size, result.numel())
        return result


def test_it_learns_as_the_papers_residual_form_does():
    """W_res x + M(T) x with T trained from T⁰ has the same outputs and gradients."""
    where = site(12, 8)
    adapter = DoTA(where, DoTAConfig(rank=4))
    cores = [nn.Parameter(core.clone()) for core in adapter.moved.start()]
    residual = where.weight - dense(cores).detach()
    x = torch.randn(9, 8, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        adapter.zero_grad()
        ours, theirs = adapter(x, x @ where.weight.T), x @ (residual + dense(cores)).T
        gradients = torch.autograd.grad(theirs.pow(3).sum(), cores)
        ours.pow(3).sum().backward()

        assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            for offset, core, gradient in zip(adapter.moved.offsets, cores, gradients, strict=True):
                assert_close(offset.grad, gradient, rtol=1e-3, atol=1e-3)
                offset -= 1e-4 * offset.grad
                core -= 1e-4 * gradient


def test_weight_decay_goes_back_to_the_weight():
    """Decay alone takes the change towards zero, never W itself."""
    adapter = train_adapter(adapter_of("dota", site(12, 8)), 8)
    norms = [adapter.delta_weight().norm().item()]
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.1, weight_decay=1.0)
    for _ in range(60):
        for parameter in adapter.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
        norms.append(adapter.delta_weight().norm().item())

    assert norms[-1] < 0.01 * norms[0]
    assert norms == sorted(norms, reverse=True)


def test_few_numbers_move_the_weight_in_every_direction():
    """384 numbers on 64 × 64 give a change of full matrix rank; LoRA's 512 give rank 4."""
    adapter = train_adapter(DoTA(site(64, 64), DoTAConfig(rank=4)), 64)

    assert sum(p.numel() for p in adapter.parameters()) == 384
    assert torch.linalg.matrix_rank(adapter.delta_weight().detach().double()) == 64


def test_counts():
    """4096 × 4096 at R = 8: (8, 8, 8, 8)² gives 9,216 and (16, 16, 16)² gives 20,480."""
    assert digits(4096, 4096, 4) == ((8, 8, 8, 8), (8, 8, 8, 8))
    assert numbers(4096, 4096, 8, 4) == 9_216
    assert numbers(4096, 4096, 8, 3) == 20_480
    assert DoTA.trained_numbers(4096, 4096, DoTAConfig(rank=8, cores=4), 5) == 9_216


def test_digits_of_a_prime_are_one_and_lie_opposite():
    """7 × 5 becomes a pair of LoRA's form with a core between; both sides are cut at the rank."""
    assert digits(7, 5, 3) == ((7, 1, 1), (1, 1, 5))
    assert shapes(*digits(7, 5, 3), 3) == [(1, 7, 1, 3), (3, 1, 1, 3), (3, 1, 5, 1)]
    assert digits(768, 768, 3) == ((12, 8, 8), (8, 8, 12))


def test_a_start_of_another_machine_is_kept():
    """Singular vectors of the other sign: the loaded function is the saved one, bit for bit."""
    source, target = (adapted("dota", One("linear"), tasks) for tasks in (2, 0))
    state = source.state()
    for name in state:
        if name.endswith(("start_0", "start_1", "offsets.0", "offsets.1")):
            state[name] = -state[name]

    target.load_state(state)

    change = source.adapters["layer"].delta_weight()
    assert torch.equal(target.adapters["layer"].delta_weight(), change)
    assert not torch.equal(
        target.adapters["layer"].moved.start_0, source.adapters["layer"].moved.start_0
    )


def test_a_weight_of_zeros_can_be_adapted():
    """Nothing is divided by zero and the change is finite."""
    for split in ("right", "balanced"):
        model = One("linear")
        nn.init.zeros_(model.layer.weight)
        config = DoTAConfig(rank=3, split=split)
        adapter = attach(model, "dota", config, targets=["layer"]).adapters["layer"]

        assert train_adapter(adapter, 5).delta_weight().isfinite().all()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: DoTAConfig(rank=0), "DoTAConfig.rank must be an integer of at least 1; got 0"),
        (lambda: DoTAConfig(cores=5), "DoTAConfig.cores must be 2, 3 or 4; got 5"),
        (lambda: configure("dota", {"split": "rigth"}), "did you mean 'right'"),
        (lambda: adapter_of("dota", site(), rank=6), "dota of rank 6 does not fit layer 'layer'"),
    ],
)
def test_impossible_settings_are_refused(build, message):
    """With what is allowed."""
    with pytest.raises(InputError, match=message):
        build()
