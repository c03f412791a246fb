"""Truncated singular value decompositions against numpy, scipy and Eckart-Young."""

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from continual.errors import InputError
from continual.linalg import METHODS, cur, optimal_error, prepare, product_svd, ranges, svd
from tests.linalg.spectra import DECAYS, matrices, matrix_of, with_spectrum

RNG = np.random.default_rng(0)
EPS = np.finfo(float).eps


@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (6, 6), (1, 8), (8, 1), (1, 1)])
def test_svd_agrees_with_numpy(shape):
    """Singular values, the rebuilt matrix and both errors of every truncation."""
    matrix = RNG.normal(size=shape)
    values = np.linalg.svd(matrix, compute_uv=False)

    for rank in range(1, min(shape) + 1):
        found = svd(matrix, rank)
        residual = matrix - found.U * found.s @ found.Vt

        np.testing.assert_allclose(found.s, values[:rank])
        np.testing.assert_allclose(found.error_fro, np.linalg.norm(residual), atol=1e-12)
        np.testing.assert_allclose(found.error_spectral, np.linalg.norm(residual, 2), atol=1e-12)
        assert found.optimal_error_fro == found.error_fro


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60)
@given(matrices(), st.data())
def test_no_error_is_below_the_optimum(method, matrix, data):
    """Eckart and Young 1936; and the error that is told is the error that is made."""
    rank = data.draw(st.integers(1, min(matrix.shape)))
    norm = np.linalg.norm(matrix)
    optimum = np.linalg.norm(scipy.linalg.svdvals(matrix)[rank:])

    found = svd(matrix, rank, method=method, seed=3)
    made = np.linalg.norm(matrix - found.U * found.s @ found.Vt)

    assert found.error_fro >= optimum * (1 - 1e-9) - 1e-13 * norm
    np.testing.assert_allclose(found.error_fro, made, rtol=1e-6, atol=1e-12 * norm)
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(rank), atol=1e-10)
    assert (np.diff(found.s) <= 1e-14 * norm).all()


@pytest.mark.parametrize("decay", ["slow", "harmonic", "exponential", "one cliff"])
def test_the_expected_errors_of_the_range_finder_are_within_their_published_bounds(decay):
    """Halko, Martinsson and Tropp 2011, thm. 10.5 and cor. 10.10, as means over 30 seeds."""
    m, n, k, p = 300, 260, 8, 8
    values = DECAYS[decay](np.arange(1.0, n + 1))
    matrix = with_spectrum(m, n, values, 1)
    tail = np.linalg.norm(values[k:])
    constant = 1 + np.sqrt(k / (p - 1)) + np.e * np.sqrt(k + p) / p * np.sqrt(n - k)
    for q in (0, 1, 2):
        found = [
            svd(matrix, k + p, method="randomized", oversample=0, power=q, seed=seed)
            for seed in range(30)
        ]
        residuals = [matrix - one.U * one.s @ one.Vt for one in found]

        spectral = np.mean([np.linalg.norm(residual, 2) for residual in residuals])
        assert spectral <= constant ** (1 / (2 * q + 1)) * values[k]
        if q == 0:
            frobenius = np.mean([np.linalg.norm(residual) for residual in residuals])
            assert frobenius <= np.sqrt(1 + k / (p - 1)) * tail
            assert np.linalg.norm(values[k + p :]) <= frobenius


@settings(max_examples=60)
@given(matrices(dtypes=(np.float32, np.float64)), st.data())
def test_the_randomised_branch_tells_the_truth_too(matrix, data):
    """In both dtypes, as for matrices that are too large for the exact SVD."""
    rank = data.draw(st.integers(1, min(matrix.shape)))
    wide = matrix.astype(float)
    norm, eps = np.linalg.norm(wide), np.finfo(matrix.dtype).eps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "SMALL", 0)
        patch.setattr(ranges, "LARGE_SHARE", 1.0)
        found = svd(matrix, rank)
    made = np.linalg.norm(wide - (found.U.astype(float) * found.s) @ found.Vt)

    assert found.method == "randomized"
    np.testing.assert_allclose(found.error_fro, made, rtol=1e-3, atol=30 * eps * norm)
    assert made >= np.linalg.norm(scipy.linalg.svdvals(wide)[rank:]) * (1 - 1e-9) - 30 * eps * norm


@pytest.mark.parametrize("method", ["randomized", "arpack"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_fast_methods_find_the_leading_values(method, dtype):
    """On a decaying spectrum of a matrix too large for the exact method."""
    matrix = with_spectrum(700, 600, np.arange(1.0, 601.0) ** -1.5, 2).astype(dtype)

    found = svd(matrix, 8, method=method)

    np.testing.assert_allclose(found.s, np.arange(1.0, 9.0) ** -1.5, rtol=2e-4)
    assert found.U.dtype == dtype
    assert found.method == method


def test_auto_is_exact_where_that_is_cheap_and_randomised_elsewhere():
    """The choice that the module states."""
    wide = RNG.normal(size=(520, 600))

    assert svd(RNG.normal(size=(512, 700)), 3, diagnose=False).method == "exact"
    assert svd(wide, 3, diagnose=False).method == "randomized"
    assert svd(wide, 157, diagnose=False).method == "exact"


def test_energy_and_tolerance_keep_the_fewest():
    """Of energies 16, 9, 4, 1 (of 30) three are needed for 90 percent."""
    matrix = np.diag([2.0, 4.0, 1.0, 3.0])

    assert svd(matrix, energy=0.9).s.tolist() == [4.0, 3.0, 2.0]
    assert len(svd(matrix, energy=25 / 30).s) == 2
    assert len(svd(matrix, energy=1.0).s) == 4
    assert len(svd(matrix, tolerance=np.sqrt(5 / 30)).s) == 2
    assert len(svd(matrix, tolerance=0.0).s) == 4
    assert len(svd(np.zeros((3, 3)), energy=0.5).s) == 1


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(float, 0.5), (float, 1e-3), (float, 1e-9), (np.float32, 0.1), (np.float32, 1e-4)],
)
def test_the_randomised_method_meets_a_tolerance(dtype, tolerance):
    """With doubled sketches; it may keep a few more than the optimum, never miss the mark."""
    matrix = with_spectrum(640, 600, 0.9 ** np.arange(600.0), 4).astype(dtype)
    fewest = len(svd(matrix, tolerance=tolerance, method="exact").s)

    found = svd(matrix, tolerance=tolerance, method="randomized")

    assert found.method == "randomized"
    assert found.error_fro <= tolerance * np.linalg.norm(matrix) * (1 + 1e-6)
    assert fewest <= len(found.s) <= fewest + 3


def test_what_is_told_to_have_been_used_was_used():
    """Where another method is asked for than can answer."""
    matrix = RNG.normal(size=(20, 12))

    assert svd(matrix, 12, method="arpack").method == "exact"
    assert svd(matrix, tolerance=1e-13, method="randomized").method == "exact"
    assert svd(np.zeros((600, 560)), 3, method="arpack").error_fro == 0.0


def test_lanczos_finds_what_float32_alone_would_not():
    """A tail of 1e-5 below three ones: Lanczos squares, and works in float64 for it."""
    values = np.concatenate([np.ones(3), np.full(597, 1e-5)])
    matrix = with_spectrum(640, 600, values, 3).astype(np.float32)
    expected = np.linalg.norm(scipy.linalg.svdvals(matrix.astype(float))[10:])

    assert optimal_error(matrix, 10) == pytest.approx(expected, rel=1e-3)


def test_a_result_owns_what_it_holds_and_cannot_be_changed():
    """Else it would keep the whole matrix alive, or change what others share."""
    shared = prepare(RNG.normal(size=(40, 30)))
    found = svd(shared, 4)

    assert found.U.base is None
    assert found.Vt.base is None
    with pytest.raises(ValueError, match="read-only"):
        found.U[0, 0] = 1.0


def test_signs_do_not_depend_on_the_memory_layout():
    """The largest entry of every left vector is positive."""
    matrix = RNG.normal(size=(9, 4))
    plain, fortran = svd(matrix), svd(np.asfortranarray(matrix))

    np.testing.assert_array_equal(plain.U, fortran.U)
    assert (plain.U[np.abs(plain.U).argmax(axis=0), range(4)] > 0).all()


@pytest.mark.parametrize("method", ["randomized", "arpack"])
def test_sparse_matrices_and_operators_need_only_products(method):
    """The same triplets as for the dense matrix."""
    matrix = sparse.random_array((60, 50), density=0.1, rng=np.random.default_rng(1))
    dense = svd(matrix.toarray(), 5, method=method)

    for same in (matrix, matrix.tocoo(), aslinearoperator(matrix)):
        found = svd(same, 5, method=method)

        np.testing.assert_allclose(found.s, dense.s, rtol=1e-9)
        np.testing.assert_allclose(found.error_fro, dense.error_fro, rtol=1e-9)


def test_decompositions_of_a_prepared_matrix_share_their_sketch():
    """One range finder serves them all, and what is shared changes no number."""
    matrix = RNG.normal(size=(600, 560))
    shared = prepare(matrix)
    chosen, first = cur(shared, 5), svd(shared, 5)
    second = cur(shared, 5, policy="deim")
    sketches = [key for key in shared.known if key[0] == "sketch"]

    assert sketches == [("sketch", 15, power, 0) for power in (0, 1, 2)]
    np.testing.assert_array_equal(first.U, svd(matrix, 5).U)
    np.testing.assert_array_equal(chosen.U, cur(matrix, 5).U)
    np.testing.assert_array_equal(second.U, cur(matrix, 5, policy="deim").U)


def test_the_spectral_estimate_is_a_tight_lower_bound():
    """Of the true norm of the residual."""
    matrix = with_spectrum(620, 540, np.arange(1.0, 541.0) ** -1.0, 5)
    found = svd(matrix, 20)

    true = np.linalg.norm(matrix - found.U * found.s @ found.Vt, 2)

    assert 0.9 * true <= found.error_spectral <= true * (1 + 1e-9)
    assert svd(matrix, 20, diagnose=False).error_spectral is None


@pytest.mark.parametrize("kind", ["slow", "sparse", "one cliff"])
def test_optimal_error_is_that_of_the_singular_values_left_out(kind):
    """By the exact method and by Lanczos alike."""
    matrix = matrix_of(kind, 600, 530, 6)

    values = scipy.linalg.svdvals(matrix)

    for rank in (1, 12, 300, 530):
        expected = np.linalg.norm(values[rank:])
        np.testing.assert_allclose(optimal_error(matrix, rank), expected, rtol=1e-6, atol=1e-12)


@settings(max_examples=25)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 8), st.integers(0, 2**32))
def test_product_svd_is_the_svd_of_the_product(m, n, r, seed):
    """Also where r exceeds m or n."""
    rng = np.random.default_rng(seed)
    B, A = rng.normal(size=(m, r)), rng.normal(size=(r, n))

    found = product_svd(B, A)

    np.testing.assert_allclose(found.U * found.s @ found.Vt, B @ A, atol=1e-10)
    np.testing.assert_allclose(found.s, svd(B @ A, len(found.s)).s, atol=1e-10)
    np.testing.assert_allclose(found.U.T @ found.U, np.eye(len(found.s)), atol=1e-10)


def test_product_svd_truncates_with_its_exact_errors():
    """The norms of the values left out."""
    B, A = RNG.normal(size=(30, 4)), RNG.normal(size=(4, 20))
    found = product_svd(B, A, rank=2)

    residual = B @ A - found.U * found.s @ found.Vt

    np.testing.assert_allclose(found.error_fro, np.linalg.norm(residual))
    np.testing.assert_allclose(found.error_spectral, np.linalg.norm(residual, 2))
    values = np.linalg.svd(B @ A, compute_uv=False)[:4]
    share = np.square(values[:3]).sum() / np.square(values).sum()
    assert len(product_svd(B, A, energy=share - 1e-9).s) == 3
    assert len(product_svd(B, A, tolerance=0.0).s) == 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: svd(np.eye(3), 4), "between 1 and 3"),
        (lambda: svd(np.eye(3), True), "must be an integer"),
        (lambda: svd(np.eye(3), 1, energy=0.5), "not both"),
        (lambda: svd(np.eye(3), energy=0.0), r"in \(0, 1\]"),
        (lambda: svd(np.eye(3), tolerance=1.0), r"in \[0, 1\)"),
        (lambda: svd(np.eye(3), 1, method="arpak"), "did you mean 'arpack'"),
        (lambda: svd(np.eye(3), 1, power=-1), "power must be at least 0"),
        (lambda: svd(np.eye(3), 1, seed=-1), "seed must be at least 0"),
        (lambda: svd(np.eye(3), energy=0.5, method="arpack"), "needs a rank"),
        (lambda: svd([[1.0, np.inf]]), "must be finite"),
        (lambda: product_svd(np.eye(3), np.eye(2)), r"\(3, 3\) and \(2, 2\)"),
    ],
)
def test_unusable_input_is_refused(call, message):
    """With what was given and what is allowed."""
    with pytest.raises(InputError, match=message):
        call()
