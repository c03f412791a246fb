"""Norms, effective rank and angles against the slow and obvious."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from continual.errors import InputError
from continual.linalg import (
    core_norm,
    effective_rank,
    gram_norm,
    intruders,
    principal_angles,
    spectral_norm,
    stable_rank,
    svd,
)
from tests.linalg.spectra import matrices, with_spectrum


@settings(max_examples=25)
@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.integers(0, 9)
)
def test_gram_norm_is_the_norm_of_the_product(m, n, r, q, seed):
    """With a core and without."""
    rng = np.random.default_rng(seed)
    L, M, R = rng.normal(size=(m, r)), rng.normal(size=(r, q)), rng.normal(size=(q, n))

    np.testing.assert_allclose(gram_norm(L, R, core=M), np.linalg.norm(L @ M @ R), atol=1e-7)
    np.testing.assert_allclose(gram_norm(L @ M, R), np.linalg.norm(L @ M @ R), atol=1e-7)


def test_gram_norm_of_a_float32_tensor_is_computed_in_float64():
    """Large numbers that would lose their digits in float32."""
    B = torch.full((1000, 1), 1e20)
    A = torch.ones(1, 1000)

    np.testing.assert_allclose(gram_norm(B, A), 1e23, rtol=1e-6)


def test_effective_rank_counts_equal_directions():
    """K equal singular values give k, and it never exceeds the rank."""
    assert effective_rank(np.full(5, 0.3)) == pytest.approx(5.0)
    assert effective_rank(np.zeros(3)) == 0.0
    assert effective_rank(svd(np.outer([1.0, 2.0], [1.0, 3.0])).s) == pytest.approx(1.0)


def test_principal_angles_of_a_known_rotation():
    """A plane turned by 0.3 and 1.1 radians, in any basis of it."""
    basis = np.eye(6)[:, :2]
    turned = np.zeros((6, 2))
    turned[[0, 2], 0] = np.cos(0.3), np.sin(0.3)
    turned[[1, 3], 1] = np.cos(1.1), np.sin(1.1)
    rotation = ortho_group.rvs(6, random_state=0)

    angles = principal_angles(rotation @ basis @ [[1.0, 2.0], [0.5, -1.0]], rotation @ turned)

    np.testing.assert_allclose(angles, [0.3, 1.1])


def test_small_angles_keep_their_digits():
    """An angle of 1e-9 is not rounded to zero."""
    assert principal_angles([[1.0], [0.0]], [[1.0], [1e-9]])[0] == pytest.approx(1e-9)


@settings(max_examples=60)
@given(matrices())
def test_norms_and_stable_rank_by_their_definitions(matrix):
    """Of any spectrum and scale."""
    largest = np.linalg.norm(matrix, 2)

    assert spectral_norm(matrix) == pytest.approx(largest, rel=1e-9)
    if largest > 0:
        expected = np.linalg.norm(matrix) ** 2 / largest**2
        assert stable_rank(matrix) == pytest.approx(expected, rel=1e-9)
        assert 1 - 1e-9 <= stable_rank(matrix) <= min(matrix.shape) * (1 + 1e-9)


def test_the_spectral_norm_of_a_large_matrix_is_estimated_from_below():
    """By a block power iteration."""
    matrix = with_spectrum(640, 560, np.arange(1.0, 561.0) ** -0.5, 3)

    assert 0.95 <= spectral_norm(matrix) <= 1.0 + 1e-9
    assert stable_rank(matrix) == pytest.approx(np.square(np.linalg.norm(matrix)), rel=1e-2)
    assert stable_rank(np.zeros((3, 4))) == 0.0


def test_the_norm_of_a_core_update_needs_gram_matrices_only():
    """O(r³), however large the weight."""
    rng = np.random.default_rng(2)
    C, U, R = rng.normal(size=(50, 4)), rng.normal(size=(4, 3)), rng.normal(size=(3, 40))

    assert core_norm(U, C.T @ C, R @ R.T) == pytest.approx(np.linalg.norm(C @ U @ R))
    with pytest.raises(InputError, match=r"got \(3, 3\) and \(4, 4\)"):
        core_norm(U, R @ R.T, C.T @ C)


def test_rounding_of_float32_spans_no_direction():
    """A product of rank two has two angles, in whatever dtype it is stored."""
    rng = np.random.default_rng(3)
    product = (rng.normal(size=(100, 2)) @ rng.normal(size=(2, 4))).astype(np.float32)

    assert principal_angles(product, rng.normal(size=(100, 5))).shape == (2,)


def test_a_planted_direction_is_an_intruder():
    """W + 50 u vᵗ with u outside of what W cares for; small noise brings none."""
    rng = np.random.default_rng(1)
    before = with_spectrum(40, 30, 0.8 ** np.arange(30.0), 2)
    outside = np.linalg.svd(before)[0][:, -1]
    planted = before + 50 * np.outer(outside, rng.normal(size=30))

    assert intruders(before, before + 1e-6 * rng.normal(size=before.shape)).tolist() == []
    assert intruders(before, planted, leading_vectors=5).tolist() == [0]
    assert intruders(before, -before).tolist() == []  # signs are no matter


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: intruders(np.eye(2), np.eye(3)), "one shape"),
        (lambda: intruders(np.eye(2), np.eye(2)), "between 1 and 2"),
        (lambda: intruders(np.eye(2), np.eye(2), leading_vectors=1, threshold=0.0), "cosine"),
        (lambda: spectral_norm([[np.nan]]), "must be finite"),
        (lambda: gram_norm(np.eye(2), np.eye(3)), "cannot multiply"),
        (lambda: effective_rank(np.eye(2)), r"svd\(matrix\).s"),
        (lambda: effective_rank([-1.0]), "non-negative"),
        (lambda: principal_angles(np.eye(2), np.eye(3)), "one space"),
        (lambda: principal_angles(np.eye(2), np.zeros((2, 1))), "no direction"),
    ],
)
def test_unusable_input_is_refused(call, message):
    """With what was given and what to do."""
    with pytest.raises(InputError, match=message):
        call()
