"""Collision and orthogonality through the factors, against the dense matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continual.errors import InputError
from continual.metrics import collision


@st.composite
def changes(draw):
    """Two changes of one weight, as factors; some rows and columns are empty."""
    m, n = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    found = []
    for _ in range(2):
        r = draw(st.integers(1, 4))
        B, A = rng.normal(size=(m, r)), rng.normal(size=(r, n))
        B[rng.random(m) < 0.3] = 0.0
        A[:, rng.random(n) < 0.3] = 0.0
        found.append((B, A))
    return found


@settings(max_examples=60)
@given(changes(), st.sampled_from([0.0, 1e-3, 0.1, 0.5]))
def test_everything_agrees_with_the_dense_form(pair, threshold):
    """By the formulas of the module."""
    (B, A), (D, C) = pair
    one, two = B @ A, D @ C
    norms = np.linalg.norm(one) * np.linalg.norm(two)
    hits = (abs(one) > threshold * abs(one).max()) & (abs(two) > threshold * abs(two).max())

    close = {"rtol": 1e-7, "atol": 1e-9}
    np.testing.assert_allclose(collision.collision_rate(*pair, threshold), hits.mean())
    np.testing.assert_allclose(collision.overlap(*pair), np.square(A @ C.T).sum(), **close)
    np.testing.assert_allclose(collision.awom(*pair), np.square(one.T @ two).sum(), **close)
    singular = np.linalg.svd(one, compute_uv=False).sum()
    np.testing.assert_allclose(collision.nuclear_norm(pair[0]), singular, **close)
    if norms > 0:
        soft, cosine = abs(one * two).sum() / norms, (one * two).sum() / norms
        np.testing.assert_allclose(collision.soft_collision(*pair), soft, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(collision.frobenius_cosine(*pair), cosine, rtol=1e-6, atol=1e-9)
        share = abs(one).sum() / (np.sqrt(one.size) * np.linalg.norm(one))
        np.testing.assert_allclose(collision.spread(pair[0]), share, rtol=1e-6)


def test_blocks_of_rows_change_nothing(monkeypatch):
    """However small they are."""
    rng = np.random.default_rng(0)
    pair = [(rng.normal(size=(40, 3)), rng.normal(size=(3, 30))) for _ in range(2)]
    whole = collision.collision_rate(*pair, 0.1), collision.soft_collision(*pair)
    monkeypatch.setattr(collision, "BLOCK", 7)

    assert collision.collision_rate(*pair, 0.1) == whole[0]
    assert collision.soft_collision(*pair) == pytest.approx(whole[1])


def test_disjoint_supports_are_orthogonal_in_frobenius_only():
    """The counter-example of the module: AWOM is not zero."""
    first = (np.array([[1.0]]), np.array([[1.0, 0.0]]))
    second = (np.array([[1.0]]), np.array([[0.0, 1.0]]))

    assert collision.collision_rate(first, second) == 0.0
    assert collision.soft_collision(first, second) == 0.0
    assert collision.frobenius_cosine(first, second) == 0.0
    assert collision.awom(first, second) == pytest.approx(1.0)


def test_a_change_of_zeros_collides_with_nothing():
    """And has no direction."""
    zero, one = (np.zeros((3, 2)), np.ones((2, 4))), (np.ones((3, 1)), np.ones((1, 4)))

    assert collision.collision_rate(zero, one) == 0.0
    assert collision.soft_collision(zero, one) == 0.0
    assert collision.frobenius_cosine(zero, one) == 0.0
    assert collision.spread(zero) == 0.0


@pytest.mark.parametrize(
    ("second", "threshold", "message"),
    [
        ((np.ones((3, 1)), np.ones((1, 5))), 0.1, "one m and n"),
        ((np.ones((3, 2)), np.ones((1, 4))), 0.1, "one m and n"),
        ((np.ones((3, 1)), np.ones((1, 4))), 1.0, r"in \[0, 1\)"),
    ],
)
def test_unusable_input_is_refused(second, threshold, message):
    """With what was given and what is allowed."""
    with pytest.raises(InputError, match=message):
        collision.collision_rate((np.ones((3, 1)), np.ones((1, 4))), second, threshold)
