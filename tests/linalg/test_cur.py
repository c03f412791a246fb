"""CUR, interpolative decompositions and pivoted QR against their definitions and scipy's."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import scipy.linalg.interpolative
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from continual.errors import InputError
from continual.linalg import (
    CORES,
    POLICIES,
    cur,
    interpolative,
    optimal_error,
    pivoted_qr,
    prepare,
    published,
    ranked,
    svd,
)
from tests.linalg.spectra import matrices, matrix_of, with_spectrum

RNG = np.random.default_rng(0)
DISTINCT = [policy for policy in POLICIES if policy != "inverse_norm_published"]
SPANNING = ["deim", "qdeim", "maxvol", "leverage", "leverage_top"]


def low_rank(m: int, n: int, r: int) -> np.ndarray:
    """An (m, n) matrix of rank r."""
    return RNG.normal(size=(m, r)) @ RNG.normal(size=(r, n))


@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("policy", DISTINCT)
def test_cur_recovers_a_low_rank_matrix(policy, core):
    """K columns and rows of a generic rank-k matrix are enough."""
    matrix = low_rank(15, 11, 4)

    found = cur(matrix, 4, policy=policy, core=core, seed=1)

    np.testing.assert_allclose(found.C @ found.U @ found.R, matrix, atol=1e-8)
    assert found.error_fro < 1e-9 * np.linalg.norm(matrix)


@pytest.mark.parametrize("policy", DISTINCT)
def test_the_optimal_core_is_the_pseudo_inverse_core(policy):
    """U = C⁺ A R⁺, and the error is that of the product of the three factors."""
    matrix = RNG.normal(size=(14, 10))
    found = cur(matrix, 3, policy=policy, seed=2)

    core = np.linalg.pinv(found.C) @ matrix @ np.linalg.pinv(found.R)

    np.testing.assert_array_equal(found.C, matrix[:, found.columns])
    np.testing.assert_array_equal(found.R, matrix[found.rows])
    np.testing.assert_allclose(found.U, core, atol=1e-10)
    np.testing.assert_allclose(
        found.error_fro, np.linalg.norm(matrix - found.C @ found.U @ found.R), rtol=1e-10
    )
    assert found.error_fro >= svd(matrix, 3).error_fro


def test_the_cross_core_reads_the_crossing_only():
    """U = A[I, J]⁺; with as many rows as columns the cross is interpolated."""
    matrix = RNG.normal(size=(12, 9))
    found = cur(matrix, 4, core="cross")

    crossing = matrix[np.ix_(found.rows, found.columns)]

    np.testing.assert_allclose(found.U, np.linalg.pinv(crossing), atol=1e-10)
    np.testing.assert_allclose((found.C @ found.U @ found.R)[found.rows], found.R, atol=1e-9)
    assert found.error_fro >= cur(matrix, 4).error_fro


@pytest.mark.parametrize("core", CORES)
@settings(max_examples=80)
@given(matrices(), st.sampled_from(DISTINCT), st.data())
def test_the_error_told_is_the_error_made_and_never_below_the_optimum(core, matrix, policy, data):
    """For every policy, every spectrum and every scale."""
    rank = data.draw(st.integers(1, min(matrix.shape)))
    norm = np.linalg.norm(matrix)

    found = cur(matrix, rank, policy=policy, core=core, seed=4)
    made = np.linalg.norm(matrix - found.C @ found.U @ found.R)
    optimum = np.linalg.norm(scipy.linalg.svdvals(matrix)[rank:])

    assert found.error_fro >= optimum * (1 - 1e-9) - 1e-12 * norm
    np.testing.assert_allclose(found.error_fro, made, rtol=1e-2, atol=1e-13 * norm)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("ratio", [0.1, 0.3, 0.7])
def test_a_larger_rank_is_never_spoiled_by_its_own_core(dtype, ratio):
    """Within 5 percent of the best in the span of the choice, but for √ε; no worse with rank."""
    matrix = with_spectrum(80, 60, ratio ** np.arange(60.0), 0).astype(dtype)
    wide = matrix.astype(float)
    floor = np.linalg.norm(wide) * (1e-6 if dtype == np.float32 else 1e-7)
    errors = []
    for rank in (4, 8, 12, 16, 30, 60):
        found = cur(matrix, rank)
        Q_c = np.linalg.qr(wide[:, found.columns])[0]
        Q_r = np.linalg.qr(wide[found.rows].T)[0]
        best = np.linalg.norm(wide - Q_c @ (Q_c.T @ wide @ Q_r) @ Q_r.T)
        made = np.linalg.norm(wide - found.C.astype(float) @ found.U @ found.R.astype(float))
        errors.append(made)

        assert made <= 1.05 * best + floor
        assert found.error_fro == pytest.approx(made, rel=0.05, abs=floor)
    assert all(later <= earlier + floor for earlier, later in itertools.pairwise(errors))


def test_a_tolerance_that_no_core_can_meet_is_warned_about():
    """And the best there is is returned."""
    matrix = with_spectrum(40, 30, 0.1 ** np.arange(30.0), 0)

    with pytest.warns(UserWarning, match="more than the tolerance 1e-14"):
        found = cur(matrix, tolerance=1e-14)

    assert found.error_fro < 1e-6 * np.linalg.norm(matrix)


def test_a_cross_core_has_no_bound():
    """The theorems speak of the optimal one; the etas are those of the choice."""
    found = cur(RNG.normal(size=(20, 20)), 4, policy="deim", core="cross")

    assert found.bound_fro is None
    assert found.bound_spectral is None
    assert found.eta_columns >= 1.0


def test_leverage_draws_columns_and_rows_independently():
    """Of a symmetric matrix too, whose scores are the same on both sides."""
    half = RNG.normal(size=(60, 60))
    found = [cur(half + half.T, 3, policy="leverage", seed=seed) for seed in range(20)]

    assert sum(one.columns[0] == one.rows[0] for one in found) <= 4


def test_the_published_draw_takes_both_sides_from_one_stream():
    """As the paper's code does."""
    matrix = RNG.normal(size=(50, 40))
    columns, rows = published(matrix, 5, 5, seed=7)

    found = cur(matrix, 5, policy="inverse_norm_published", seed=7)

    assert found.columns.tolist() == columns.tolist()
    assert found.rows.tolist() == rows.tolist()


@pytest.mark.parametrize("policy", ["sketch_lupp", "sketch_qrcp", "deim", "qdeim", "maxvol"])
def test_beyond_the_rank_of_a_matrix_the_strongest_fill_up(policy):
    """So that rounding decides nothing: scaled, sparse or in float32, the choice is the same."""
    matrix = low_rank(60, 50, 2)
    chosen = ranked(matrix, 8, axis=1, policy=policy).tolist()

    for same in (4.0 * matrix, sparse.csr_array(matrix), matrix.astype(np.float32)):
        assert ranked(same, 8, axis=1, policy=policy).tolist() == chosen
    energy = np.square(matrix).sum(axis=0)
    strongest = [j for j in np.argsort(-energy) if j not in chosen[:2]]
    assert chosen[2:] == strongest[:6]


@pytest.mark.parametrize("policy", SPANNING)
@settings(max_examples=60)
@given(matrices(), st.data())
def test_the_deim_bounds_hold(policy, matrix, data):
    """Sorensen and Embree 2016: (η_p + η_q) σ_{k+1}, and the same in Frobenius norm."""
    rank = data.draw(st.integers(1, min(matrix.shape)))
    norm = np.linalg.norm(matrix)

    found = cur(matrix, rank, policy=policy, seed=5)
    error = np.linalg.norm(matrix - found.C @ found.U @ found.R, 2)

    assert found.eta_columns >= 1.0 - 1e-9
    assert found.eta_rows >= 1.0 - 1e-9
    rounding = 1e-12 * norm * (found.eta_columns + found.eta_rows)
    if found.condition_columns * found.condition_rows < 1e6:  # else rounding, not theory
        assert found.error_fro <= found.bound_fro + 1e-9 * norm + rounding
        assert error <= found.bound_spectral + 1e-9 * norm + rounding


def test_the_deim_bound_holds_for_randomised_vectors_too():
    """Where the matrix is too large for exact ones there is a Frobenius bound only."""
    matrix = with_spectrum(600, 540, np.arange(1.0, 541.0) ** -1.0, 1)

    for policy in ("deim", "qdeim", "maxvol"):
        found = cur(matrix, 12, policy=policy)

        assert found.bound_spectral is None
        assert found.error_fro <= found.bound_fro


@settings(max_examples=60)
@given(st.integers(2, 40), st.integers(0, 2**32 - 1), st.data())
def test_maxvol_is_within_its_published_bound(n, seed, data):
    """‖V[p]⁻¹‖₂ ≤ √(1 + 1.05² k (n − k))."""
    k = data.draw(st.integers(1, n))
    matrix = np.random.default_rng(seed).normal(size=(n, n))

    found = cur(matrix, k, policy="maxvol")

    bound = np.sqrt(1 + 1.05**2 * k * (n - k))
    assert max(found.eta_columns, found.eta_rows) <= bound * (1 + 1e-9)


def test_numbers_of_columns_and_rows_may_differ():
    """The core is (k, l), and more rows never harm."""
    matrix = matrix_of("slow", 30, 25, 3)

    for policy in DISTINCT:
        few, many = (cur(matrix, 4, rows=rows, policy=policy, seed=1) for rows in (4, 9))

        assert many.U.shape == (4, 9)
        assert many.R.shape == (9, 25)
        assert many.error_fro <= few.error_fro * (1 + 1e-12)


def test_dependent_columns_and_zeros_do_no_harm():
    """More columns than the matrix has independent ones, and no columns of worth at all."""
    matrix = low_rank(8, 8, 2)

    for policy in POLICIES:
        found = cur(matrix, 5, policy=policy)

        assert np.isfinite(found.U).all()
        assert found.condition_columns == np.inf
        assert cur(np.zeros((4, 3)), 2, policy=policy).error_fro == 0.0
    assert cur(matrix, 5).error_fro < 1e-9 * np.linalg.norm(matrix)


@pytest.mark.parametrize("policy", ["sketch_lupp", "qdeim", "norm"])
@pytest.mark.parametrize("tolerance", [0.5, 0.1, 1e-4])
def test_a_tolerance_is_met_by_as_few_as_the_choice_allows(policy, tolerance):
    """One less of the same choice would miss it."""
    matrix = with_spectrum(120, 100, 0.8 ** np.arange(100.0), 7)
    allowed = tolerance * np.linalg.norm(matrix)

    found = cur(matrix, tolerance=tolerance, policy=policy)
    count = len(found.columns)

    assert found.error_fro <= allowed
    assert optimal_error(matrix, count) <= allowed
    shorter_columns, shorter_rows = found.columns[:-1], found.rows[:-1]
    Q_c = np.linalg.qr(matrix[:, shorter_columns])[0]
    Q_r = np.linalg.qr(matrix[shorter_rows].T)[0]
    assert np.linalg.norm(matrix - Q_c @ (Q_c.T @ matrix @ Q_r) @ Q_r.T) > allowed


def test_sparse_matrices_and_operators_give_the_dense_answer():
    """Columns and rows are sliced, or multiplied out of an operator."""
    matrix = sparse.random_array((60, 50), density=0.3, rng=np.random.default_rng(1))
    dense = cur(matrix.toarray(), 6)

    for same in (matrix, matrix.tocsc(), aslinearoperator(matrix)):
        found = cur(same, 6)

        assert found.columns.tolist() == dense.columns.tolist()
        assert found.rows.tolist() == dense.rows.tolist()
        np.testing.assert_allclose(found.error_fro, dense.error_fro, rtol=1e-9)


@pytest.mark.parametrize("policy", DISTINCT)
def test_float32_and_float64_choose_alike_on_gapped_spectra(policy):
    """Where the choice does not hang on the last digits."""
    values = np.concatenate([np.linspace(3, 2, 6), np.full(34, 1e-3)])
    matrix = with_spectrum(50, 40, values, 8).astype(np.float32)

    single, double = (cur(matrix.astype(t), 6, policy=policy) for t in (np.float32, np.float64))

    assert single.C.dtype == np.float32
    assert single.columns.tolist() == double.columns.tolist()
    assert single.rows.tolist() == double.rows.tolist()


def test_the_default_is_nearly_as_good_as_pivoted_qr_on_slow_decay():
    """Within 5 percent, and better than drawing by norm."""
    matrix = with_spectrum(700, 600, np.arange(1.0, 601.0) ** -0.5, 9)
    errors = {
        policy: cur(matrix, 32, policy=policy).error_fro
        for policy in ("sketch_lupp", "qrcp", "norm", "inverse_norm")
    }

    assert errors["sketch_lupp"] <= 1.05 * errors["qrcp"]
    assert errors["sketch_lupp"] < errors["norm"] < errors["inverse_norm"]


@pytest.mark.parametrize("two_sided", [False, True])
@settings(max_examples=60)
@given(matrices(), st.data())
def test_interpolative_decompositions_tell_their_error(two_sided, matrix, data):
    """A ≈ A[:, J] T, or L A[I, J] T; never better than the optimum."""
    rank = data.draw(st.integers(1, min(matrix.shape)))
    norm = np.linalg.norm(matrix)

    found = interpolative(matrix, rank, two_sided=two_sided)
    skeleton = matrix[:, found.columns] if found.rows is None else found.skeleton
    whole = skeleton if found.left is None else found.left @ skeleton
    made = np.linalg.norm(matrix - whole @ found.right)

    assert found.error_fro >= np.linalg.norm(scipy.linalg.svdvals(matrix)[rank:]) - 1e-12 * norm
    slack = 1e-10 * norm * (1 + np.abs(found.right).max())
    np.testing.assert_allclose(found.error_fro, made, rtol=1e-6, atol=slack)


def test_interpolation_is_the_identity_on_what_was_chosen():
    """T[:, J] = I and L[I] = I."""
    matrix = RNG.normal(size=(20, 16))
    found = interpolative(matrix, 5, two_sided=True)

    np.testing.assert_allclose(found.right[:, found.columns], np.eye(5), atol=1e-10)
    np.testing.assert_allclose(found.left[found.rows], np.eye(5), atol=1e-10)
    np.testing.assert_array_equal(found.skeleton, matrix[np.ix_(found.rows, found.columns)])


def test_the_column_id_is_no_worse_than_scipys():
    """For the same columns least squares cannot lose against the triangular solve."""
    matrix = matrix_of("slow", 60, 50, 3)
    order, projection = scipy.linalg.interpolative.interp_decomp(matrix, 8, rand=False)
    theirs = scipy.linalg.interpolative.reconstruct_matrix_from_id(
        matrix[:, order[:8]], order, projection
    )

    ours = interpolative(matrix, 8, policy="qrcp")

    assert sorted(ours.columns.tolist()) == sorted(order[:8].tolist())
    assert ours.error_fro <= np.linalg.norm(matrix - theirs) * (1 + 1e-12)


def test_pivoted_qr_is_lapacks():
    """Same pivots as scipy's, exact error after every truncation."""
    matrix = RNG.normal(size=(12, 9))
    _, T, order = scipy.linalg.qr(matrix, mode="economic", pivoting=True)

    for rank in (1, 4, 9):
        found = pivoted_qr(matrix, rank)

        assert found.order.tolist() == order.tolist()
        np.testing.assert_allclose(found.T, T[:rank])
        made = np.linalg.norm(matrix[:, order] - found.Q @ found.T)
        np.testing.assert_allclose(found.error_fro, made, atol=1e-12)
    assert pivoted_qr(np.diag([3.0, 4.0]), energy=0.6).T.shape == (1, 2)


@pytest.mark.parametrize("tolerance", [0.3, 1e-3])
def test_an_interpolative_decomposition_meets_a_tolerance(tolerance):
    """With more columns only as needed."""
    matrix = with_spectrum(90, 80, 0.8 ** np.arange(80.0), 2)

    found = interpolative(matrix, tolerance=tolerance)

    assert found.error_fro <= tolerance * np.linalg.norm(matrix)
    fewest = len(svd(matrix, tolerance=tolerance).s)
    assert fewest <= len(found.columns) <= 2 * fewest + 2


def test_a_prepared_matrix_serves_every_decomposition():
    """Nothing that was computed before changes what comes after."""
    matrix = RNG.normal(size=(40, 30))
    shared = prepare(matrix)

    for policy in DISTINCT:
        first = cur(matrix, 4, policy=policy)
        later = cur(shared, 4, policy=policy)

        np.testing.assert_array_equal(first.U, later.U)
        np.testing.assert_array_equal(first.rows, later.rows)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cur(np.eye(3), 4), "between 1 and 3"),
        (lambda: cur(np.eye(3), 2, rows=4), "between 1 and 3"),
        (lambda: cur(np.eye(3), 2, core="best"), "unknown core 'best'"),
        (lambda: cur(np.eye(3), 2, policy="lupp"), "sketch_lupp"),
        (lambda: cur(np.eye(3), 2, tolerance=0.1), "not both"),
        (lambda: cur(np.eye(3), 2, seed=-2), "seed must be at least 0"),
        (lambda: cur(np.eye(3), tolerance=0.5, rows=2), "rows goes with a rank"),
        (lambda: interpolative(np.eye(3), 0), "between 1 and 3"),
        (lambda: pivoted_qr(np.full((2, 2), np.nan), 1), "must be finite"),
    ],
)
def test_unusable_input_is_refused(call, message):
    """With what was given and what is allowed."""
    with pytest.raises(InputError, match=message):
        call()
