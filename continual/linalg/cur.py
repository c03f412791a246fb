"""CUR: a matrix told through its own columns and rows.

    A ≈ C M R,  C = A[:, J] (m, k),  R = A[I, :] (l, n)

    core "optimal"  M = C⁺ A R⁺, the best in Frobenius norm (Stewart 1999), from QR factors of C and
                    Rᵗ; no pseudo-inverse is formed. ‖A − C M R‖²_F = ‖A‖²_F − ‖Q_Cᵗ A Q_R‖²_F.
                    Columns within √ε of the span of the others get zeros (ε of float64): solving
                    for them would cost more digits than they bring
    core "cross"    M = A[I, J]⁺ with singular values below ε cut off: cheap, reads only C and R
                    after the choice (skeleton or cross approximation, Goreinov et al. 1997)

With singular vectors V and W of A and η_q = ‖V[J]⁻¹‖₂, η_p = ‖W[I]⁻¹‖₂ (Sorensen and Embree 2016,
arXiv:1407.5516) the optimal core has ‖A − C M R‖₂ ≤ (η_p + η_q) σ_{k+1}, and in Frobenius norm
≤ (η_p + η_q) ‖A − W Wᵗ A V Vᵗ‖_F, which holds for approximate V and W too. Both are known
afterwards; neither says anything about the cross core.
"""

import time
import warnings
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from continual.errors import InputError, unknown
from continual.linalg import pivots
from continual.linalg.cores import condition, inner_product, inverse_norm, truncated_inverse
from continual.linalg.operand import Operand, owned, prepare
from continual.linalg.ranges import (
    Triplets,
    Wanted,
    check_natural,
    check_rank,
    independent,
    leading,
    shortest,
    wanted,
)
from continual.linalg.residuals import projection_error, residual_norm, spectral_error
from continual.linalg.select import POWER, SKETCHED, SPANNING, filled, published, ranked

CORES: tuple[str, ...] = ("optimal", "cross")
DEPENDENT = float(np.sqrt(np.finfo(np.float64).eps))  # share of the largest pivot
ROUNDED = 1e-3  # of the error: where the factors' rounding may exceed it, they are measured instead


@dataclass(frozen=True, kw_only=True, eq=False)
class CUR:
    """A matrix told through its own columns and rows.

    Attributes:
        C: (m, k) = A[:, columns].
        U: (k, l), the core, in float64 whatever the dtype of C and R: it is small and may be large
            in size.
        R: (l, n) = A[rows, :].
        columns: (k,) int64, in the order of choice.
        rows: (l,) int64, likewise.
        error_fro: ‖A − C U R‖_F.
        error_spectral: ‖A − C U R‖₂, estimated from below; None if not asked for.
        optimal_error_fro: that of the truncated SVD of rank min(k, l); None where it is not known.
        eta_columns: η_q; None where the policy looks at no singular vectors, or k ≠ l.
        eta_rows: η_p, likewise.
        bound_fro: (η_p + η_q) ‖A − W Wᵗ A V Vᵗ‖_F, which ``error_fro`` cannot exceed but by
            rounding; likewise, and None for a cross core.
        bound_spectral: (η_p + η_q) σ_{k+1}; None unless the singular vectors are exact, too.
        condition_columns: cond₂(C), infinite where its columns are dependent.
        condition_rows: cond₂(R), likewise.
        method: policy and core, as in "sketch_lupp, optimal core".
        seed: of draws and sketches.
        seconds: that it took.
    """

    C: np.ndarray
    U: np.ndarray
    R: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    error_fro: float
    error_spectral: float | None
    optimal_error_fro: float | None
    eta_columns: float | None
    eta_rows: float | None
    bound_fro: float | None
    bound_spectral: float | None
    condition_columns: float
    condition_rows: float
    method: str
    seed: int
    seconds: float


def cur(
    matrix: object,
    rank: int | None = None,
    *,
    rows: int | None = None,
    tolerance: float | None = None,
    energy: float | None = None,
    policy: str = "sketch_lupp",
    core: str = "optimal",
    seed: int = 0,
    diagnose: bool = True,
) -> CUR:
    """Approximate an (m, n) matrix by some of its columns and rows.

    Columns or rows that depend on the others get zeros in the core, so repeated ones do no harm. A
    tolerance that cannot be met with every column and row is warned about.

    Args:
        matrix: (m, n), whatever ``prepare`` takes.
        rank: k, how many columns; at most min(m, n).
        rows: l, how many rows; as many as columns by default.
        tolerance: instead of a rank: as few as meet ‖A − C U R‖_F ≤ tolerance · ‖A‖_F, found by
            doubling and bisecting prefixes of one choice.
        energy: instead: the same with tolerance √(1 − energy).
        policy: how to choose them, see ``select``.
        core: one of ``CORES``.
        seed: of draws and sketches, at least 0.
        diagnose: estimate the spectral error too.

    Raises:
        InputError: an argument out of range, ``rows`` together with a tolerance, unknown policy or
            core, unusable matrix.

    >>> cur([[1.0, 2.0], [2.0, 4.0]], 1).error_fro < 1e-12
    True
    """
    began = time.perf_counter()
    if core not in CORES:
        raise unknown("core", core, CORES)
    check_natural("seed", seed)
    operand = prepare(matrix)
    need = wanted(operand.smaller, operand.shape, rank, tolerance, energy)
    if rows is not None and rank is None:
        raise InputError("rows goes with a rank; a tolerance takes as many rows as columns.")
    if need.rank is not None:
        count = need.rank if rows is None else check_rank(rows, operand.smaller, operand.shape)
        found = _of_rank(operand, need.rank, count, policy, core, seed)
    else:
        found = _to_tolerance(operand, need, policy, core, seed)
    if diagnose:
        estimate = spectral_error(operand, found.C @ found.U, found.R, seed=seed)
        found = replace(found, error_spectral=estimate)
    return replace(found, seconds=time.perf_counter() - began)


def choose(
    operand: Operand, columns: int, rows: int, policy: str, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row indices in the order of choice.

    A sketched policy pivots the rows of the columns that it chose (Dong and Martinsson 2023); the
    published one draws both from one stream; every other one chooses both sides alone, those that
    weigh by energy with the seeds 2 s and 2 s + 1.
    """
    if policy == "inverse_norm_published":
        return published(operand, columns, rows, seed=seed)
    if policy in SKETCHED:
        chosen = ranked(operand, columns, axis=1, policy=policy, seed=seed)
        if rows > columns:
            return chosen, ranked(operand, rows, axis=0, policy=policy, seed=seed)
        pivoting = pivots.lupp if policy == "sketch_lupp" else pivots.qrcp
        best = pivoting(operand.columns(chosen))[:rows].astype(np.int64)
        return chosen, best if len(best) == rows else filled(best, operand.energies(0), rows)
    seeds = (seed, seed) if policy in SPANNING else (2 * seed, 2 * seed + 1)
    return (
        ranked(operand, columns, axis=1, policy=policy, seed=seeds[0]),
        ranked(operand, rows, axis=0, policy=policy, seed=seeds[1]),
    )


def _of_rank(operand: Operand, columns: int, rows: int, policy: str, core: str, seed: int) -> CUR:
    chosen = choose(operand, columns, rows, policy, seed)
    found = _factored(operand, *chosen, core, f"{policy}, {core} core", seed)
    if policy not in SPANNING or columns != rows:
        return found
    vectors = leading(operand, columns, power=POWER, seed=seed)
    return _bounded(operand, found, vectors, optimal=core == "optimal")


def _to_tolerance(operand: Operand, need: Wanted, policy: str, core: str, seed: int) -> CUR:
    found = shortest(
        operand.smaller,
        lambda count: choose(operand, count, count, policy, seed),
        lambda found: _factored(operand, found[0], found[1], core, f"{policy}, {core} core", seed),
        lambda cur: need.is_met(cur.error_fro, operand.energy),
    )
    if not need.is_met(found.error_fro, operand.energy):
        reached = found.error_fro / np.sqrt(operand.energy)
        warnings.warn(
            f"all {len(found.columns)} columns and rows leave an error of {reached:.2g} ‖A‖_F, "
            f"more than the tolerance {need.tolerance:.2g}; svd can do better.",
            stacklevel=3,
        )
    return found


def _factored(
    operand: Operand, columns: np.ndarray, rows: np.ndarray, core: str, method: str, seed: int
) -> CUR:
    C, R = operand.columns(columns), operand.rows(rows)
    Q_c, T_c, kept_c = independent(C, DEPENDENT)
    Q_r, T_r, kept_r = independent(R.T, DEPENDENT)
    condition_c, condition_r = condition(T_c, len(columns)), condition(T_r, len(rows))
    norm, eps = np.sqrt(operand.energy), float(np.finfo(operand.dtype).eps)
    U = np.zeros((len(columns), len(rows)))
    if core == "cross":
        U[:] = truncated_inverse(C[rows].astype(np.float64), eps * max(operand.shape))
        error = residual_norm(operand, C @ U, R)
    else:
        conditions = condition(T_c, len(T_c)) * condition(T_r, len(T_r))
        inner = inner_product(operand, Q_c, Q_r, wide=eps * conditions > ROUNDED)
        half = linalg.solve_triangular(T_c, inner, check_finite=False)
        U[np.ix_(kept_c, kept_r)] = linalg.solve_triangular(T_r, half.T, check_finite=False).T
        captured = float(np.square(inner).sum())
        error = projection_error(operand, captured, lambda: (Q_c @ inner, Q_r.T))
        if norm > 0.0 and eps * condition_c * condition_r * norm > ROUNDED * error:
            error = residual_norm(operand, C @ U, R)
    return CUR(
        C=owned(C),
        U=owned(U),
        R=owned(R),
        columns=owned(columns),
        rows=owned(rows),
        error_fro=error,
        error_spectral=None,
        optimal_error_fro=None,
        eta_columns=None,
        eta_rows=None,
        bound_fro=None,
        bound_spectral=None,
        condition_columns=condition_c,
        condition_rows=condition_r,
        method=method,
        seed=seed,
        seconds=0.0,
    )


def _bounded(operand: Operand, found: CUR, vectors: Triplets, *, optimal: bool) -> CUR:
    """Add what the singular vectors tell about the choice."""
    k = len(found.columns)
    U, s, Vt = vectors.U[:, :k], vectors.s[:k], vectors.Vt[:k]
    eta_columns, eta_rows = inverse_norm(Vt[:, found.columns]), inverse_norm(U[found.rows])
    exact = vectors.method == "exact"
    following: float | None = None
    if exact:
        rest = float(np.linalg.norm(vectors.s[k:].astype(np.float64)))
        following = float(vectors.s[k]) if k < len(vectors.s) else 0.0
    else:
        captured = float(np.square(s, dtype=np.float64).sum())
        rest = projection_error(operand, captured, lambda: (U * s, Vt))
    etas = eta_columns + eta_rows
    return replace(
        found,
        optimal_error_fro=rest if exact else None,
        eta_columns=eta_columns,
        eta_rows=eta_rows,
        bound_fro=etas * rest if optimal else None,
        bound_spectral=etas * following if optimal and following is not None else None,
    )
