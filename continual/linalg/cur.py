"""CUR: a matrix told through its own columns and rows.

    A ≈ C M R,  C = A[:, J] (m, k),  R = A[I, :] (l, n)

    core "optimal"  M = C⁺ A R⁺, the best in Frobenius norm (Stewart 1999), from QR factors of C and
                    Rᵗ; no pseudo-inverse is formed. ‖A − C M R‖²_F = ‖A‖²_F − ‖Q_Cᵗ A Q_R‖²_F
    core "cross"    M = A[I, J]⁺ with singular values below ε cut off: cheap, reads only C and R
                    after the choice (skeleton or cross approximation, Goreinov et al. 1997)

With singular vectors V and W of A and η_q = ‖V[J]⁻¹‖₂, η_p = ‖W[I]⁻¹‖₂ (Sorensen and Embree 2016,
arXiv:1407.5516) the optimal core has ‖A − C M R‖₂ ≤ (η_p + η_q) σ_{k+1}, and in Frobenius norm
≤ (η_p + η_q) ‖A − A V Vᵗ‖_F, which holds for approximate V and W too. Both are known afterwards.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import linalg

from continual.errors import unknown
from continual.linalg import pivots
from continual.linalg.operand import Operand, prepare
from continual.linalg.ranges import (
    FIRST_BLOCK,
    OVERSAMPLE,
    Triplets,
    Wanted,
    check_rank,
    check_seed,
    leading,
    wanted,
)
from continual.linalg.residuals import projection_error, residual_norm, spectral_error
from continual.linalg.select import POWER, SKETCHED, SPANNING, ranked

CORES: tuple[str, ...] = ("optimal", "cross")
ROUNDED = 1e-3  # of the error: where the factors' rounding may exceed it, they are measured instead


@dataclass(frozen=True, kw_only=True, eq=False)
class CUR:
    """A matrix told through its own columns and rows.

    Attributes:
        C: (m, k) = A[:, columns].
        U: (k, l), the core.
        R: (l, n) = A[rows, :].
        columns: (k,) int64, in the order of choice; the first j of them are the choice of rank j.
        rows: (l,) int64, likewise.
        error_fro: ‖A − C U R‖_F.
        error_spectral: ‖A − C U R‖₂, estimated from below; None if not asked for.
        optimal_error_fro: that of the truncated SVD of rank min(k, l); None where it is not known.
        eta_columns: η_q; None where the policy looks at no singular vectors, or k ≠ l.
        eta_rows: η_p, likewise.
        bound_fro: (η_p + η_q) ‖A − A V Vᵗ‖_F, which ``error_fro`` cannot exceed; likewise.
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

    Columns or rows that depend on the others (beyond eps · max(m, n)) get zeros in the core, so
    repeated ones do no harm.

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
        InputError: an argument out of range, unknown policy or core, unusable matrix.

    >>> cur([[1.0, 2.0], [2.0, 4.0]], 1).error_fro < 1e-12
    True
    """
    began = time.perf_counter()
    if core not in CORES:
        raise unknown("core", core, CORES)
    check_seed(seed)
    operand = prepare(matrix)
    need = wanted(operand, rank, tolerance, energy)
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

    A sketched policy pivots the rows of the columns that it chose (Dong and Martinsson 2023); every
    other one chooses both sides alone, drawing with the seeds 2 s and 2 s + 1.
    """
    if policy in SKETCHED:
        chosen = ranked(operand, columns, axis=1, policy=policy, seed=seed)
        if rows > columns:
            return chosen, ranked(operand, rows, axis=0, policy=policy, seed=seed)
        pivoting = pivots.lupp if policy == "sketch_lupp" else pivots.qrcp
        return chosen, pivoting(operand.columns(chosen))[:rows].astype(np.int64)
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
    vectors = leading(operand, columns, oversample=OVERSAMPLE, power=POWER, seed=seed)
    return _bounded(operand, found, vectors)


def _to_tolerance(operand: Operand, need: Wanted, policy: str, core: str, seed: int) -> CUR:
    """Double the choice until it is good enough, then take its shortest prefix that is."""
    total, unmet, count = operand.energy, 0, min(FIRST_BLOCK, operand.smaller)
    while True:
        chosen = choose(operand, count, count, policy, seed)
        found = _factored(operand, *chosen, core, f"{policy}, {core} core", seed)
        if need.is_met(found.error_fro, total):
            break
        if count == operand.smaller:
            return found
        unmet, count = count, min(2 * count, operand.smaller)
    while count - unmet > 1:
        middle = (unmet + count) // 2
        columns, rows = chosen[0][:middle], chosen[1][:middle]
        shorter = _factored(operand, columns, rows, core, found.method, seed)
        if need.is_met(shorter.error_fro, total):
            found, count = shorter, middle
        else:
            unmet = middle
    return found


def _factored(
    operand: Operand, columns: np.ndarray, rows: np.ndarray, core: str, method: str, seed: int
) -> CUR:
    C, R = operand.columns(columns), operand.rows(rows)
    Q_c, T_c, kept_c = basis(C)
    Q_r, T_r, kept_r = basis(R.T)
    U = np.zeros((len(columns), len(rows)), dtype=operand.dtype)
    if core == "cross":
        U[:] = _truncated_inverse(C[rows], max(operand.shape))
        error = residual_norm(operand, C @ U, R)
    else:
        inner = operand.transposed_times(Q_c).T @ Q_r
        half = linalg.solve_triangular(T_c, inner, check_finite=False)
        U[np.ix_(kept_c, kept_r)] = linalg.solve_triangular(T_r, half.T, check_finite=False).T
        captured = float(np.square(inner, dtype=np.float64).sum())
        error = projection_error(operand, captured, lambda: (Q_c @ inner, Q_r.T))
    condition_c, condition_r = _condition(T_c, len(columns)), _condition(T_r, len(rows))
    rounding = float(np.finfo(operand.dtype).eps) * condition_c * condition_r
    if core == "optimal" and rounding * np.sqrt(operand.energy or 1.0) > ROUNDED * error:
        error = residual_norm(operand, C @ U, R)
    return CUR(
        C=C,
        U=U,
        R=R,
        columns=columns,
        rows=rows,
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


def _bounded(operand: Operand, found: CUR, vectors: Triplets) -> CUR:
    """Add what the singular vectors tell about the choice."""
    k = len(found.columns)
    captured = np.square(vectors.s[:k], dtype=np.float64).sum()
    rest = float(np.sqrt(max(operand.energy - captured, 0.0)))
    if len(vectors.s) == operand.smaller:
        rest = float(np.linalg.norm(vectors.s[k:].astype(np.float64)))
    eta_columns = _inverse_norm(vectors.Vt[:k, found.columns])
    eta_rows = _inverse_norm(vectors.U[found.rows, :k])
    following = float(vectors.s[k]) if k < len(vectors.s) else 0.0
    return replace(
        found,
        optimal_error_fro=rest if vectors.exact else None,
        eta_columns=eta_columns,
        eta_rows=eta_rows,
        bound_fro=(eta_columns + eta_rows) * rest,
        bound_spectral=(eta_columns + eta_rows) * following if vectors.exact else None,
    )


def basis(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return orthonormal Q, triangle T and the kept columns, with columns[:, kept] = Q T."""
    found: Any = linalg.qr(columns, mode="economic", pivoting=True, check_finite=False)
    Q, T, order = found
    diagonal = np.abs(np.diagonal(T))
    smallest = np.finfo(columns.dtype).eps * max(columns.shape) * diagonal[0]
    independent = int((diagonal > smallest).sum())
    return Q[:, :independent], T[:independent, :independent], order[:independent]


def _condition(triangle: np.ndarray, count: int) -> float:
    if len(triangle) < count:
        return float("inf")
    s = linalg.svdvals(triangle.astype(np.float64), check_finite=False)
    return float(s[0] / s[-1])


def _inverse_norm(square: np.ndarray) -> float:
    smallest = float(linalg.svdvals(square.astype(np.float64), check_finite=False)[-1])
    return 1.0 / smallest if smallest > 0.0 else float("inf")


def _truncated_inverse(crossing: np.ndarray, size: int) -> np.ndarray:
    """Return (k, l) from A[I, J] (l, k), singular values below eps · size of the largest cut."""
    U, s, Vt = linalg.svd(crossing, full_matrices=False, check_finite=False)
    kept = s > np.finfo(crossing.dtype).eps * size * s[0]
    return (Vt[kept].T / s[kept]) @ U[:, kept].T
