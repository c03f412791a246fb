"""EVA against NumPy's decomposition of all inputs at once, over batches, tasks and weights."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach
from continual.adapters.eva import EVA, EVAConfig
from continual.adapters.inputs import Directions, Shares
from continual.adapters.lora import LoRA, LoRAConfig
from continual.errors import InputError
from tests.adapters.models import site, train_adapter


@pytest.fixture(autouse=True)
def _same_numbers():
    torch.manual_seed(0)


def decaying(rows, n, rate=0.7):
    """Inputs whose directions hold less and less."""
    turned, _ = torch.linalg.qr(torch.randn(n, n))
    return torch.randn(rows, n) @ (rate ** torch.arange(n) * turned).T


def aligned(found, expected):
    """Cosines between rows, whatever their signs."""
    return (found * expected).sum(dim=1).abs()


def test_a_starts_at_the_top_right_singular_vectors():
    """Of all inputs together, in any number of batches and axes; B is zero."""
    adapter = EVA(site(9, 16), EVAConfig(rank=4))
    x = decaying(60, 16)
    adapter.begin_task(0)
    for batch in (x[:6].reshape(2, 3, 16), x[6:7], x[7:40], x[40:]):
        adapter.look(batch)
    before = adapter.delta_weight()
    adapter.settle()
    _, _, Vt = np.linalg.svd(x.numpy().astype(np.float64))

    A = adapter.pairs.pair.A.detach()
    assert aligned(A, torch.tensor(Vt[:4], dtype=torch.float32)).min() > 0.99
    assert_close(A @ A.T, torch.eye(4), rtol=0.0, atol=1e-5)
    assert not before.any()
    assert not adapter.delta_weight().any()


def test_directions_are_exact_while_all_of_them_are_kept():
    """Chunks of many batches against one decomposition: vectors and shares."""
    x = decaying(700, 8)
    directions = Directions(8, 8)
    for batch in x.split(300):
        directions.see(batch)
    _, s, Vt = np.linalg.svd(x.numpy().astype(np.float64), full_matrices=False)

    assert aligned(directions.leading(8), torch.tensor(Vt, dtype=torch.float32)).min() > 0.9999
    assert directions.shares(3) == pytest.approx((s**2 / (s**2).sum())[:3].tolist(), rel=1e-4)


def test_inputs_are_not_centred():
    """Rows far from zero in one direction: that direction is the first."""
    directions = Directions(2, 5)
    directions.see(torch.randn(50, 5) + 100.0 * torch.eye(5)[2])

    assert directions.leading(1)[0, 2].abs() > 0.999


@pytest.mark.parametrize("shown", ["nothing", "zeros", "two directions"])
def test_rows_without_a_direction_are_drawn_as_loras(shown):
    """And stay so; a rank of four is kept."""
    adapter, plain = EVA(site(9, 6), EVAConfig(rank=4)), LoRA(site(9, 6), LoRAConfig(rank=4))
    rows = torch.eye(6)[[1, 4, 1]]
    adapter.begin_task(0)
    if shown != "nothing":
        adapter.look(rows if shown == "two directions" else torch.zeros(3, 6))
    adapter.settle()

    A, drawn = adapter.pairs.pair.A.detach(), plain.pair.A.detach()
    found = 2 if shown == "two directions" else 0
    assert torch.equal(A[found:], drawn[found:])
    assert_close(A[:found].abs(), rows[:found])  # the stronger one, shown twice, is first


def test_every_task_looks_anew_and_the_past_stays():
    """With per_task: a frozen stack, a new A from the new inputs, and the same function."""
    adapter = EVA(site(9, 6), EVAConfig(rank=2))
    learned = []
    for task in range(3):
        adapter.begin_task(task)
        before = adapter.delta_weight().detach().clone()
        adapter.look(torch.eye(6)[[2 * task, 2 * task, 2 * task + 1]])
        adapter.settle()
        assert_close(adapter.delta_weight(), before)
        assert_close(adapter.pairs.pair.A.detach().abs(), torch.eye(6)[2 * task : 2 * task + 2])
        train_adapter(adapter, 6, seed=task)
        learned.append(adapter.pairs.scale * adapter.pairs.pair.product().detach())

    changes = [B @ A for B, A in adapter.changes()]
    for change, expected in zip(changes, learned, strict=True):
        assert_close(change, expected)


def test_one_look_and_one_pair_without_per_task():
    """Later tasks are not looked at, and go on with what there is."""
    adapter = EVA(site(9, 6), EVAConfig(rank=2, per_task=False))
    adapter.begin_task(0)
    adapter.look(torch.eye(6)[:2])
    adapter.settle()
    train_adapter(adapter, 6)
    state = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    adapter.begin_task(1)
    adapter.look(torch.eye(6)[4:])
    adapter.settle()

    assert all(torch.equal(tensor, state[name]) for name, tensor in adapter.state_dict().items())
    assert len(adapter.changes()) == 1
    assert EVA.continues(adapter.config)
    assert not EVA.continues(EVAConfig())


def test_a_look_while_learning_changes_nothing():
    """A is found between the beginning of a task and its first step only."""
    adapter = EVA(site(9, 6), EVAConfig(rank=2))
    adapter.begin_task(0)
    adapter.look(torch.eye(6)[:2])
    adapter.settle()
    train_adapter(adapter, 6)
    before = adapter.delta_weight().detach().clone()
    adapter.look(torch.eye(6)[4:])
    adapter.settle()

    assert torch.equal(adapter.delta_weight(), before)


@pytest.mark.parametrize("saved_in_task", [False, True])
def test_a_restored_adapter_looks_at_the_tasks_that_begin_after(saved_in_task):
    """Also at task 0, if the state was saved before it; never at the one it was saved in."""
    source, adapter = (EVA(site(9, 6), EVAConfig(rank=2)) for _ in range(2))
    if saved_in_task:
        adapter.begin_task(0)
    adapter.restore(source.state_dict(), site(9, 6).weight)
    if not saved_in_task:
        adapter.begin_task(0)
    adapter.look(torch.eye(6)[[3, 3, 5]])
    adapter.settle()

    found = torch.equal(adapter.pairs.pair.A.detach().abs().round(), torch.eye(6)[[3, 5]])
    assert found == (not saved_in_task)


def test_ranks_go_where_directions_hold_most():
    """Worked: one each, then the 2 · 2 − 2 largest of the other shares, at most those told."""
    shares = Shares()
    shares.tell("a", [0.5, 0.2, 0.15])
    shares.tell("b", [0.9, 0.1, 0.0])

    assert (shares.rank("a", 2), shares.rank("b", 2)) == (3, 1)
    shares.tell("a", [0.5, 0.3])
    shares.tell("b", [0.6, 0.4])
    assert (shares.rank("b", 2), shares.rank("a", 2)) == (2, 2)


def test_weights_of_a_model_share_a_budget():
    """Inputs in one direction need no rank; the sum stays, and so do function, state and scale."""

    def network():
        torch.manual_seed(0)
        model = nn.ModuleDict({"flat": nn.Linear(8, 8), "rich": nn.Linear(8, 8)})
        return attach(model, "eva", EVAConfig(rank=3, rho=1.5), targets="all-linear", seed=2)

    adaptation = network()
    for task in range(2):
        adaptation.begin_task(task)
        with adaptation.looking(), torch.no_grad():
            adaptation.model["flat"](torch.randn(40, 1) @ torch.randn(1, 8))
            adaptation.model["rich"](torch.randn(40, 8))
        for parameter in adaptation.trainable().values():
            nn.init.normal_(parameter)
    ranks = {name: len(a.pairs.pair.A) for name, a in adaptation.adapters.items()}
    flat, rich = adaptation.adapters.values()
    again = network()
    again.load_state(adaptation.state())

    assert ranks == {"flat": 1, "rich": 5}
    assert flat.pairs.scale == rich.pairs.scale == 16.0 / 3.0
    assert adaptation.trained_numbers() == 2 * EVA.trained_numbers(8, 8, EVAConfig(rank=3), 1)
    assert [B.shape[1] for B, _ in rich.changes()] == [5, 5]
    assert again.state_hash() == adaptation.state_hash()
    for name, adapter in again.adapters.items():
        assert_close(adapter.delta_weight(), adaptation.adapters[name].delta_weight())


def test_impossible_settings_are_refused():
    """In sentences."""
    with pytest.raises(InputError, match=r"rho must be at least 1; got 0\.5"):
        EVAConfig(rho=0.5)
    with pytest.raises(InputError, match="examples must be an integer of at least 1; got 0"):
        EVAConfig(examples=0)
    with pytest.raises(InputError, match="eva of rank 6 does not fit layer 'layer'"):
        EVA(site(), EVAConfig(rank=6))
