"""Methods that begin their pairs anew in the middle of a task."""

import pytest
import torch
from torch.testing import assert_close

from continual.adapters import attach, configure
from continual.adapters.half import HalfPair
from continual.adapters.rounds import condensed
from continual.training.optimiser import load_optimiser_state, make_optimiser, optimiser_state
from tests.adapters.models import (
    TOKENS,
    One,
    llama,
    logits,
    site,
    train_adapter,
)

ROUNDS = ["cola", "periodic-lora", "rac-lora", "xgblora"]
every_method = pytest.mark.parametrize("method", ROUNDS)


def restarting(method, every=3, rank=2):
    """The adapter of one weight, with short rounds."""
    config = configure(method, {"rank": rank, "every": every})
    return attach(One("linear"), method, config, targets=["layer"]).adapters["layer"]


def steps(adaptation, optimiser, count, first=0):
    """Real steps as the loop makes them, on tokens that depend on the number of the step."""
    for step in range(first, first + count):
        labels = torch.randint(31, TOKENS.shape, generator=torch.Generator().manual_seed(step))
        optimiser.zero_grad(set_to_none=True)
        adaptation.before_step()
        adaptation.model(input_ids=TOKENS, labels=labels).loss.backward()
        adaptation.after_backward()
        optimiser.step()
        for parameter in adaptation.after_step(0.02):
            optimiser.state.pop(parameter, None)


def begun(method, tasks=2):
    """A small language model with rounds of 3 steps, at the beginning of a task."""
    config = configure(method, {"rank": 2, "every": 3})
    adaptation = attach(llama(), method, config, model_type="llama", seed=5)
    for task in range(tasks):
        adaptation.begin_task(task)
    return adaptation, make_optimiser(adaptation.trainable(), 0.02, 0.1)


@every_method
@pytest.mark.parametrize("stop", [2, 3, 4])
def test_killed_and_continued_it_learns_the_same_bits(method, stop):
    """Before, at and after the end of a round: the clock and the moments are in what is saved."""
    whole, optimiser = begun(method)
    steps(whole, optimiser, 8)

    torn, moments = begun(method)
    steps(torn, moments, stop)
    state, saved = torn.state(), optimiser_state(moments, torn.trainable())
    fresh, again = begun(method)
    fresh.load_state(state)
    again = make_optimiser(fresh.trainable(), 0.02, 0.1)
    load_optimiser_state(again, fresh.trainable(), saved)
    steps(fresh, again, 8 - stop, first=stop)

    assert torch.equal(logits(fresh.model), logits(whole.model))
    expected = whole.state()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in fresh.state().items())
    final, same = (
        optimiser_state(one, adaptation.trainable())
        for one, adaptation in ((optimiser, whole), (again, fresh))
    )
    assert final.keys() == same.keys()
    assert all(torch.equal(tensor, same[name]) for name, tensor in final.items())


@every_method
def test_the_clock_is_part_of_the_state(method):
    """Task, round, and the steps made in the round."""
    whole, optimiser = begun(method)
    steps(whole, optimiser, 2)
    name = "adapters.model.layers.0.self_attn.q_proj.rounds.clock"

    assert whole.state()[name].tolist() == [1, 0, 2]
    steps(whole, optimiser, 2, first=2)
    assert whole.state()[name].tolist() == [1, 1, 1]


@every_method
def test_moments_are_forgotten_at_the_end_of_a_round_and_only_there(method):
    """Every parameter of every adapter is named, once in so many steps."""
    adaptation, _ = begun(method)

    named = [len(adaptation.after_step(0.1)) for _ in range(6)]

    everything = len(adaptation.trainable())
    assert named == [0, 0, everything, 0, 0, everything]


@pytest.mark.parametrize("method", ["cola", "rac-lora", "xgblora"])  # not with a momentum
@pytest.mark.parametrize("rounds", [1, 2, 6])
def test_a_restart_leaves_the_function_as_it_is(method, rounds):
    """Law 6 of merging: before, after, and where the chain has been condensed."""
    adapter = restarting(method, every=100)
    for turn in range(rounds):
        train_adapter(adapter, 5, seed=turn)
        before = adapter.delta_weight().detach().clone()
        adapter.rounds.clock[2] = 99
        assert adapter.after_step(0.1)

        assert_close(adapter.delta_weight().detach(), before, rtol=1e-6, atol=1e-6)
        assert not (adapter.rounds.pair.B @ adapter.rounds.pair.A).any()
    assert adapter.rounds.now == (0, rounds)
    assert adapter.rounds.past.rank == min(2 * rounds, 5)


@every_method
def test_a_round_in_which_nothing_was_learned_leaves_no_trace(method):
    """The past does not grow by zeros."""
    adapter = restarting(method, every=1)

    assert all(adapter.after_step(0.1) for _ in range(4))

    assert adapter.rounds.past.rank == 0
    assert adapter.rounds.now == (0, 4)


@every_method
def test_every_round_of_every_task_draws_other_numbers(method):
    """And the same ones when it is repeated."""
    drawn = []
    for _ in range(2):
        adapter = restarting(method, every=1)
        pair, own = adapter.rounds.pair, []
        for task in range(3):
            adapter.begin_task(task)
            for _ in range(3):
                own.append(torch.cat([pair.A.detach().flatten(), pair.B.detach().flatten()]))
                adapter.after_step(0.1)
        drawn.append(torch.stack(own))

    assert torch.equal(*drawn)
    assert len(drawn[0].unique(dim=0)) == 9


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6), (1, 4)])
def test_condensing_is_exact(shape):
    """Rank min(m, n), the product rounded once: nearest to the exact sum."""
    generator = torch.Generator().manual_seed(0)
    B = torch.randn(shape[0], 40, generator=generator)
    A = torch.randn(40, shape[1], generator=generator)

    core_B, core_A = condensed(B, A)

    assert core_B.shape == (shape[0], min(shape))
    assert core_A.shape == (min(shape), shape[1])
    assert torch.equal(core_B @ core_A, (B.double() @ A.double()).float())


@pytest.mark.parametrize("side", ["A", "B"])
def test_of_half_a_pair_one_factor_learns(side):
    """The other is a buffer, as large as a random factor of LoRA is."""
    pair = HalfPair(site(300, 200), 4, "rac-lora", side)
    other = "B" if side == "A" else "A"

    assert [name for name, _ in pair.named_parameters()] == [side]
    assert [name for name, _ in pair.named_buffers()] == [other]
    assert not getattr(pair, side).any()
    long = max(getattr(pair, other).shape)
    assert getattr(pair, other).std().item() == pytest.approx((3 * long) ** -0.5, rel=0.1)
