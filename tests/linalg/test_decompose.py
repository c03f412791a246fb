"""Decompositions against numpy, and against their own definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from continual.errors import InputError
from continual.linalg import POLICIES, cur, product_svd, svd

RNG = np.random.default_rng(0)


def low_rank(m: int, n: int, r: int) -> np.ndarray:
    """An (m, n) matrix of rank r."""
    return RNG.normal(size=(m, r)) @ RNG.normal(size=(r, n))


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6), (1, 8), (8, 1)])
def test_svd_agrees_with_numpy(shape):
    """Singular values, the rebuilt matrix and the error of every truncation."""
    matrix = RNG.normal(size=shape)
    values = np.linalg.svd(matrix, compute_uv=False)

    for rank in range(1, min(shape) + 1):
        found = svd(matrix, rank)
        residual = np.linalg.norm(matrix - found.U * found.s @ found.Vt)

        np.testing.assert_allclose(found.s, values[:rank])
        np.testing.assert_allclose(found.error, residual, atol=1e-12)


def test_svd_by_energy_keeps_the_fewest():
    """Of energies 16, 9, 4, 1 (of 30) three are needed for 90 percent."""
    matrix = np.diag([2.0, 4.0, 1.0, 3.0])

    assert svd(matrix, energy=0.9).s.tolist() == [4.0, 3.0, 2.0]
    assert len(svd(matrix, energy=25 / 30).s) == 2
    assert len(svd(matrix, energy=1.0).s) == 4
    assert len(svd(np.zeros((3, 3)), energy=0.5).s) == 1


def test_signs_do_not_depend_on_the_memory_layout():
    """The largest entry of every left vector is positive."""
    matrix = RNG.normal(size=(9, 4))
    plain, fortran = svd(matrix), svd(np.asfortranarray(matrix))

    np.testing.assert_array_equal(plain.U, fortran.U)
    assert (plain.U[np.abs(plain.U).argmax(axis=0), range(4)] > 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8), st.integers(0, 2**32))
def test_product_svd_is_the_svd_of_the_product(m, n, r, seed):
    """Also where r exceeds m or n."""
    rng = np.random.default_rng(seed)
    B, A = rng.normal(size=(m, r)), rng.normal(size=(r, n))

    found = product_svd(B, A)

    np.testing.assert_allclose(found.U * found.s @ found.Vt, B @ A, atol=1e-10)
    np.testing.assert_allclose(found.s, svd(B @ A, len(found.s)).s, atol=1e-10)
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(len(found.s)), atol=1e-10)


def test_product_svd_truncates_with_its_exact_error():
    """The error is the norm of the values left out."""
    B, A = RNG.normal(size=(30, 4)), RNG.normal(size=(4, 20))
    found = product_svd(B, A, rank=2)

    residual = np.linalg.norm(B @ A - found.U * found.s @ found.Vt)

    np.testing.assert_allclose(found.error, residual)


@pytest.mark.parametrize("policy", POLICIES)
def test_cur_recovers_a_low_rank_matrix(policy):
    """K columns and rows of a generic rank-k matrix are enough."""
    matrix = low_rank(15, 11, 4)

    found = cur(matrix, 4, policy=policy, seed=1)

    np.testing.assert_allclose(found.C @ found.U @ found.R, matrix, atol=1e-8)
    assert found.error < 1e-10 * np.linalg.norm(matrix)


@pytest.mark.parametrize("policy", POLICIES)
def test_cur_core_is_the_pseudo_inverse_core(policy):
    """U = C⁺ A R⁺, and the error is that of the product of the three factors."""
    matrix = RNG.normal(size=(14, 10))
    found = cur(matrix, 3, policy=policy, seed=2)

    core = np.linalg.pinv(found.C) @ matrix @ np.linalg.pinv(found.R)

    np.testing.assert_array_equal(found.C, matrix[:, found.columns])
    np.testing.assert_array_equal(found.R, matrix[found.rows])
    np.testing.assert_allclose(found.U, core, atol=1e-10)
    np.testing.assert_allclose(
        found.error, np.linalg.norm(matrix - found.C @ found.U @ found.R), rtol=1e-10
    )
    assert found.error >= svd(matrix, 3).error


def test_cur_survives_dependent_columns():
    """More columns than the matrix has independent ones, and no columns of worth at all."""
    matrix = low_rank(8, 8, 2)

    assert cur(matrix, 5).error < 1e-10 * np.linalg.norm(matrix)
    assert cur(np.zeros((4, 3)), 2).error == 0.0
    assert np.isfinite(cur(matrix, 5).U).all()


def test_bfloat16_tensors_are_widened():
    """The same as decomposing the widened matrix."""
    matrix = torch.randn(6, 5, generator=torch.Generator().manual_seed(0)).bfloat16()

    np.testing.assert_array_equal(svd(matrix).s, svd(matrix.float()).s)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: svd(np.eye(3), 4), "between 1 and 3"),
        (lambda: svd(np.eye(3), 1, energy=0.5), "not both"),
        (lambda: svd(np.eye(3), energy=0.0), r"in \(0, 1\]"),
        (lambda: svd([[1.0, np.inf]]), "must be finite"),
        (lambda: cur(np.eye(3), 4), "between 1 and 3"),
        (lambda: product_svd(np.eye(3), np.eye(2)), r"\(3, 3\) and \(2, 2\)"),
    ],
)
def test_unusable_input_is_refused(call, message):
    """With what was given and what is allowed."""
    with pytest.raises(InputError, match=message):
        call()
