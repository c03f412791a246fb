"""The Kneser-Ney baseline: a distribution everywhere, and the formula of its docstring."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.analysis.scripts import STUDIES, load

FILE = STUDIES / "tiny-lm" / "byte_ngram.py"
TEXTS = [b"the cat sat on the mat. " * 3, b"", b"a", b"that rat \xff\x00 ate the hat", b"\n" * 9]


(ngram,) = load("tiny-lm", "byte_ngram")


def slow_tables(texts, n):
    """Count symbols by dictionaries: tables[k][history][byte], k = 1 ... n."""
    tables = {k: defaultdict(Counter) for k in range(1, n + 1)}
    for text in texts:
        symbols = [None] * (n - 1) + list(text)
        for at in range(n - 1, len(symbols)):
            tables[n][tuple(symbols[at - n + 1 : at])][symbols[at]] += 1
    for k in range(n - 1, 0, -1):
        for history, row in tables[k + 1].items():
            for byte in row:
                tables[k][history[1:]][byte] += 1
    return tables


def slow_probability(tables, history, byte, k):
    """p_k of a byte by the recursion, one byte at a time."""
    if k == 0:
        return 1 / 256
    recent = tuple(history[len(history) - k + 1 :])
    lower = slow_probability(tables, history, byte, k - 1)
    if recent not in tables[k]:
        return lower
    counts = np.array([c for row in tables[k].values() for c in row.values()])
    d = (0.0, *ngram.discounts(counts))
    row = tables[k][recent]
    total = sum(row.values())
    weight = sum(d[min(c, 3)] for c in row.values()) / total
    return (row[byte] - d[min(row[byte], 3)]) / total + weight * lower


@pytest.mark.parametrize("order", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("history", [b"", b"t", b"the ca", b"\xfe\xfd\xfc\xfb\xfa\xf9", b"zqthe "])
def test_the_bytes_share_a_probability_of_one(order, history):
    """After a seen, a partly seen and an unseen history, with no zeros."""
    p = ngram.distribution(ngram.train(TEXTS, order), history)

    assert p.shape == (256,)
    assert p.min() > 0
    assert p.sum() == pytest.approx(1, abs=1e-12)


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4), st.binary(max_size=8))
def test_any_text_gives_a_distribution(texts, history):
    """Counts of counts too few for an estimate do not break it."""
    model = ngram.train([*texts, b"x"], 4)

    assert ngram.distribution(model, history).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_it_is_the_formula(order):
    """Sorting and bisection agree with dictionaries on seen and unseen text."""
    text = b"the rat sat.\x07 the"
    tables = slow_tables(TEXTS, order)
    symbols = [None] * (order - 1) + list(text)
    slow = [
        slow_probability(tables, symbols[: order - 1 + k], byte, order)
        for k, byte in enumerate(text)
    ]

    found = ngram.probabilities(ngram.train(TEXTS, order), text)

    np.testing.assert_allclose(found, slow, rtol=1e-12)


def test_the_discounts_are_those_of_chen_and_goodman():
    """Worked: n1..n4 = 8, 4, 2, 1 gives Y = 1/2 and D = 1/2, 5/4, 2."""
    counts = np.repeat([1, 2, 3, 4, 9], [8, 4, 2, 1, 3])

    assert ngram.discounts(counts) == (0.5, 1.25, 2.0)
    assert ngram.discounts(np.array([1, 1, 5])) == ngram.FALLBACK


def test_a_document_is_the_product_of_its_bytes():
    """Scoring in one go equals asking for one distribution after another."""
    model, text = ngram.train(TEXTS, 3), b"the hat"

    one_by_one = [ngram.distribution(model, text[:k])[byte] for k, byte in enumerate(text)]

    np.testing.assert_allclose(ngram.probabilities(model, text), one_by_one, rtol=1e-12)
    assert ngram.bits(model, [text, b""]) == pytest.approx(-np.log2(one_by_one).sum())


def test_it_beats_the_uniform_distribution_and_longer_histories_help():
    """On text of the same kind: fewer than 8 bits per byte, and fewer with more context."""
    model_1, model_5 = (ngram.train([FILE.read_bytes()[:4000]], order) for order in (1, 5))
    rest = FILE.read_bytes()[4000:]

    assert ngram.bits(model_5, [rest]) < ngram.bits(model_1, [rest]) < 8 * len(rest)


def test_errors_say_what_is_allowed():
    """An order that does not fit an int64, and nothing to count."""
    with pytest.raises(ValueError, match=r"order must be between 1 and 7; got 8\."):
        ngram.train(TEXTS, 8)
    with pytest.raises(ValueError, match="at least one byte"):
        ngram.train([b""], 3)
