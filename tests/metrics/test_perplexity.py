"""Drift in nats per token, from sums."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continual.errors import InputError
from continual.metrics import perplexity as p


@given(st.floats(0.1, 10))
def test_an_untouched_model_drifts_by_exactly_nothing(nats):
    """Not approximately: the same number twice is a difference of 0.0 and a ratio of 1.0."""
    assert p.drift([nats, nats, nats]) == [0.0, 0.0, 0.0]
    assert p.perplexity_ratio([nats, nats]) == 1.0


def test_means_are_over_tokens_and_not_over_documents():
    """A long easy text and a short hard one: 110 nats over 101 tokens."""
    assert p.nats_per_token([100.0, 10.0], [100, 1]) == pytest.approx(110 / 101)


def test_bits_per_byte_are_nats_over_bytes():
    """8 bytes of 1 bit each are 8 ln 2 nats."""
    assert p.bits_per_byte(8 * math.log(2), 8) == pytest.approx(1.0)


def test_the_ratio_is_of_perplexities():
    """exp(3.5) over exp(3.0)."""
    assert p.perplexity_ratio([3.0, 9.9, 3.5]) == pytest.approx(math.exp(3.5) / math.exp(3.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: p.drift([]), "before any training"),
        (lambda: p.final_drift([3.0, math.nan]), "after the last experience"),
        (lambda: p.nats_per_token([1.0], [0]), "at least one token"),
        (lambda: p.nats_per_token([1.0], [1, 2]), "2 token counts"),
        (lambda: p.bits_per_byte(1.0, 0), "at least one byte"),
        (lambda: p.final_bits_per_byte([1.0, math.nan]), "finish the run"),
    ],
)
def test_what_cannot_be_computed_is_said(call, message):
    """Each names what is missing."""
    with pytest.raises(InputError, match=message):
        call()
