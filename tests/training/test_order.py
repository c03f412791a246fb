"""What happens at which step is a pure function of the position."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from continual.training.config import TrainConfig
from continual.training.order import batch_indices, learning_rate, plan, step_randomness

seeds = st.integers(0, 9)


@given(n=st.integers(1, 40), size=st.integers(1, 16), epochs=st.integers(1, 3))
def test_every_epoch_sees_every_example_once(n, size, epochs):
    """The batches of an epoch are a partition of the data."""
    steps = plan(np.ones(n), TrainConfig(epochs=epochs, batch_size=size))

    assert steps.steps == steps.per_epoch * epochs
    for epoch in range(epochs):
        first = epoch * steps.per_epoch
        seen = [batch_indices(steps, 0, 0, first + k) for k in range(steps.per_epoch)]
        assert sorted(np.concatenate(seen)) == list(range(n))


@given(
    lengths=st.lists(st.integers(1, 99), min_size=1, max_size=60),
    size=st.integers(1, 9),
    seed=seeds,
)
def test_grouped_by_length_every_epoch_still_sees_every_example_once(lengths, size, seed):
    """Batches are a partition of the data, full but for the last one, and drawn by the position."""
    config = TrainConfig(batch_size=size, group_by_length=True)
    steps = plan(np.array(lengths), config)
    batches = [batch_indices(steps, seed, 0, k) for k in range(steps.steps)]
    again = plan(np.array(lengths), config)

    assert sorted(np.concatenate(batches)) == list(range(len(lengths)))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all((batch_indices(again, seed, 0, k) == b).all() for k, b in enumerate(batches))


def test_grouped_by_length_batches_hold_little_padding():
    """Ten batches of 50 lengths drawn at random: each spans a tenth of them, in no sorted order."""
    lengths = np.random.default_rng(0).permutation(np.repeat(np.arange(50), 8))
    steps = plan(lengths, TrainConfig(batch_size=40, group_by_length=True))
    batches = [lengths[batch_indices(steps, 0, 0, k)] for k in range(steps.steps)]

    assert all(np.ptp(batch) == 4 for batch in batches)
    assert [batch.min() for batch in batches] != sorted(batch.min() for batch in batches)


def test_order_depends_on_seed_experience_and_epoch():
    """Another seed, experience or epoch is another order; the same position is the same batch."""
    steps = plan(np.ones(1000), TrainConfig(epochs=2, batch_size=1000))
    orders = [
        tuple(batch_indices(steps, *position))
        for position in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    ]

    assert len(set(orders)) == 4
    assert orders[0] == tuple(batch_indices(steps, 0, 0, 0))


def test_max_steps_ends_an_experience_early():
    """max_steps bounds the plan and never lengthens it."""
    assert plan(np.ones(100), TrainConfig(batch_size=10, max_steps=3)).steps == 3
    assert plan(np.ones(100), TrainConfig(batch_size=10, max_steps=99)).steps == 10


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_rate_rises_then_follows_its_schedule(schedule):
    """Warm-up ends at the peak; afterwards the rate never rises and stays above zero."""
    config = TrainConfig(schedule=schedule, warmup=0.2)
    rates = [learning_rate(config, 2.0, step, 20) for step in range(20)]

    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0
    assert all(a >= b > 0 for a, b in pairwise(rates[4:]))
    assert (rates[-1] == 2.0) == (schedule == "constant")


def test_dropout_is_a_function_of_the_position_and_leaves_no_trace():
    """The same step draws the same mask; torch's global state is as before afterwards."""
    ones, device = torch.ones(64), torch.device("cpu")
    before = torch.get_rng_state()
    masks = []
    for step in (3, 3, 4):
        with step_randomness(7, 1, step, device):
            masks.append(torch.nn.functional.dropout(ones, 0.5))

    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
    assert torch.equal(torch.get_rng_state(), before)


def test_a_micro_batch_larger_than_the_batch_is_refused():
    """The error names both numbers."""
    with pytest.raises(
        ValueError, match=r"micro_batch_size \(8\) must not exceed batch_size \(4\)"
    ):
        TrainConfig(batch_size=4, micro_batch_size=8)
