"""Means over seeds, and how far to trust them."""

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from continual.errors import InputError
from continual.metrics import estimate


def test_the_interval_is_scipys_bca_bootstrap():
    """The same resamples give the same ends."""
    values = [0.70, 0.74, 0.69, 0.71, 0.78]
    theirs = bootstrap(
        (np.array(values),),
        np.mean,
        n_resamples=9999,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval

    assert estimate(values).interval == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("shift", [0.1, 0.3, 0.37, 1.0 / 3.0, 100.0])
def test_rounding_does_not_move_the_interval(shift):
    """A fifth of all resamples of three has their mean; how sums are rounded decides nothing."""
    around = estimate([0.0, 0.14, 0.28]).interval
    found = estimate([shift, 0.14 + shift, 0.28 + shift]).interval

    assert found == pytest.approx([end + shift for end in around])


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.9], [0.5, 0.5, 0.5]])
def test_too_few_or_equal_seeds_have_no_interval(values):
    """A bootstrap of two numbers, or of equal ones, would pretend to know."""
    found = estimate(values)

    assert found.interval is None
    assert found.mean == pytest.approx(sum(values) / len(values))


def test_the_same_seeds_give_the_same_report():
    """Resampling is seeded."""
    assert estimate([0.1, 0.4, 0.2]) == estimate([0.1, 0.4, 0.2])


@pytest.mark.parametrize("values", [[], [0.1, math.nan]])
def test_numbers_that_are_none_are_refused(values):
    """Nothing to average is an error."""
    with pytest.raises(InputError, match="finite numbers"):
        estimate(values)
