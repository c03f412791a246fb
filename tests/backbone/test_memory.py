"""Evaluation goes on with smaller batches where memory runs out."""

import pytest
import torch

from continual.backbone.memory import BatchSize
from continual.errors import InputError


def allocating(limit):
    """Work that runs out of memory above a batch size, as torch's allocator says it."""

    def work(size):
        if size > limit:
            torch.empty(2**60, dtype=torch.uint8)
        return size

    return work


def test_a_batch_is_halved_until_it_fits_and_stays_so():
    """The next task begins with the size that fitted; every halving is told."""
    notes = []
    batch = BatchSize(64, notes.append)

    assert batch.run(allocating(20)) == 16
    assert batch.run(allocating(64)) == 16
    assert len(notes) == 2
    assert "going on with batches of 16" in notes[-1]


def test_one_example_that_does_not_fit_is_an_error_with_a_way_out():
    """No endless loop, and what to do."""
    with pytest.raises(InputError, match=r"not even one example fits .*max_length"):
        BatchSize(4, lambda note: None).run(allocating(0))


def test_other_errors_pass():
    """Only memory is answered."""

    def broken(size):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        BatchSize(4, lambda note: None).run(broken)


def test_work_that_cannot_be_done_twice_is_not():
    """A filter that has taken in an example cannot forget it."""
    sizes = []

    def work(size):
        sizes.append(size)
        return allocating(4)(size)

    with pytest.raises(InputError, match="not even one example fits"):
        BatchSize(8, lambda note: None).run(work, once=True)
    assert sizes == [8]
