"""Interpolative decompositions and pivoted QR: a matrix through some of its own columns.

    column ID     A ≈ A[:, J] T                     T (k, n), the identity on J
    two-sided ID  A ≈ L A[I, J] T                   L (m, k), the identity on I
    pivoted QR    A[:, order] ≈ Q T                 Q (m, k) orthonormal, T (k, n) trapezoidal

T of the column ID solves the least-squares problem (Voronin and Martinsson 2017, arXiv:1412.8447,
take the triangular solve of a pivoted QR instead; for the same J, least squares is never worse).
"""

import time
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg

from continual.linalg import pivots
from continual.linalg.operand import Operand, owned, prepare
from continual.linalg.ranges import Wanted, check_natural, independent, shortest, wanted
from continual.linalg.residuals import projection_error, residual_norm, spectral_error
from continual.linalg.select import filled, ranked


@dataclass(frozen=True, kw_only=True, eq=False)
class Interpolative:
    """A ≈ left · skeleton · right.

    Attributes:
        left: (m, k), the identity on ``rows``; None for a column ID, whose skeleton has all rows.
        skeleton: A[:, columns] (m, k), or A[rows, columns] (k, k) if two-sided.
        right: (k, n), the identity on ``columns`` unless those are dependent.
        columns: (k,) int64, in the order of choice.
        rows: (k,) int64, likewise; None for a column ID.
        error_fro: ‖A − left skeleton right‖_F.
        error_spectral: ‖·‖₂ of the same, estimated from below; None if not asked for.
        method: the policy.
        seed: of draws and sketches.
        seconds: that it took.
    """

    left: np.ndarray | None
    skeleton: np.ndarray
    right: np.ndarray
    columns: np.ndarray
    rows: np.ndarray | None
    error_fro: float
    error_spectral: float | None
    method: str
    seed: int
    seconds: float


@dataclass(frozen=True, kw_only=True, eq=False)
class PivotedQR:
    """A[:, order] ≈ Q T, the columns in the order in which they were chosen.

    Attributes:
        Q: (m, k), orthonormal columns.
        T: (k, n), |diagonal| decreasing.
        order: (n,) int64, all columns, the k chosen first.
        error_fro: ‖A[:, order] − Q T‖_F, exact: the norm of the rows of T left out.
        method: qrcp.
        seconds: that it took.
    """

    Q: np.ndarray
    T: np.ndarray
    order: np.ndarray
    error_fro: float
    method: str
    seconds: float


class Solved(NamedTuple):
    """A column ID: columns (k,), C = A[:, columns] (m, k), T (k, n) and ‖A − C T‖_F."""

    columns: np.ndarray
    C: np.ndarray
    T: np.ndarray
    error: float


def interpolative(
    matrix: object,
    rank: int | None = None,
    *,
    tolerance: float | None = None,
    energy: float | None = None,
    policy: str = "sketch_lupp",
    two_sided: bool = False,
    seed: int = 0,
    diagnose: bool = True,
) -> Interpolative:
    """Return the column or two-sided interpolative decomposition of an (m, n) matrix.

    Args:
        matrix: (m, n), whatever ``prepare`` takes.
        rank: k; at most min(m, n).
        tolerance: instead of a rank: as few columns as meet ‖A − Â‖_F ≤ tolerance · ‖A‖_F.
        energy: instead: the same with tolerance √(1 − energy).
        policy: how to choose the columns, see ``select``; the rows are pivots of those columns.
        two_sided: choose rows too. The tolerance then speaks of the column ID behind it.
        seed: of draws and sketches, at least 0.
        diagnose: estimate the spectral error too.

    Raises:
        InputError: an argument out of range, unknown policy, unusable matrix.
    """
    began = time.perf_counter()
    check_natural("seed", seed)
    operand = prepare(matrix)
    need = wanted(operand.smaller, operand.shape, rank, tolerance, energy)
    columns, C, right, error = _chosen(operand, need, policy, seed)
    left: np.ndarray | None = None
    rows: np.ndarray | None = None
    skeleton = C
    if two_sided:
        rows = pivots.lupp(C)[: len(columns)].astype(np.int64)
        if len(rows) < len(columns):
            rows = filled(rows, operand.energies(0), len(columns))
        skeleton = C[rows]
        solution: Any = linalg.lstsq(skeleton.T, C.T, check_finite=False)
        left = solution[0].T
        error = residual_norm(operand, left @ skeleton, right)
    whole = skeleton if left is None else left @ skeleton
    spectral = spectral_error(operand, whole, right, seed=seed) if diagnose else None
    return Interpolative(
        left=None if left is None else owned(left),
        skeleton=owned(skeleton),
        right=owned(right),
        columns=owned(columns),
        rows=None if rows is None else owned(rows),
        error_fro=error,
        error_spectral=spectral,
        method=policy,
        seed=seed,
        seconds=time.perf_counter() - began,
    )


def pivoted_qr(
    matrix: object,
    rank: int | None = None,
    *,
    tolerance: float | None = None,
    energy: float | None = None,
) -> PivotedQR:
    """Return a truncated QR with column pivoting (Businger and Golub 1965; LAPACK's geqp3).

    Args:
        matrix: (m, n), whatever ``prepare`` takes.
        rank: k; all min(m, n) by default.
        tolerance: instead: as few columns as meet ‖A − Q T‖_F ≤ tolerance · ‖A‖_F.
        energy: instead: the same with tolerance √(1 − energy).

    Raises:
        InputError: an argument out of range, unusable matrix.
    """
    began = time.perf_counter()
    operand = prepare(matrix)
    need = wanted(operand.smaller, operand.shape, rank, tolerance, energy)
    found: Any = linalg.qr(operand.dense(), mode="economic", pivoting=True, check_finite=False)
    Q, T, order = found
    squares = np.square(T, dtype=np.float64).sum(axis=1)
    left = np.append(np.cumsum(squares[:0:-1])[::-1], 0.0)
    kept = need.count(left, operand.energy)
    return PivotedQR(
        Q=owned(Q[:, :kept]),
        T=owned(T[:kept]),
        order=owned(order.astype(np.int64)),
        error_fro=float(np.sqrt(left[kept - 1])),
        method="qrcp",
        seconds=time.perf_counter() - began,
    )


def _chosen(operand: Operand, need: Wanted, policy: str, seed: int) -> Solved:
    def choose(count: int) -> tuple[np.ndarray, ...]:
        return (ranked(operand, count, axis=1, policy=policy, seed=seed),)

    if need.rank is not None:
        return _solved(operand, *choose(need.rank))
    return shortest(
        operand.smaller,
        choose,
        lambda chosen: _solved(operand, *chosen),
        lambda solved: need.is_met(solved.error, operand.energy),
    )


def _solved(operand: Operand, columns: np.ndarray) -> Solved:
    """Return the column ID whose T makes ‖A − C T‖_F least.

    Columns that depend on the others, but for rounding in the matrix's dtype, get zeros.
    """
    C = operand.columns(columns)
    share = float(np.finfo(operand.dtype).eps) * max(C.shape)
    Q, triangle, kept = independent(C, share)
    inner = operand.transposed_times(Q).T.astype(np.float64)
    T = np.zeros((len(columns), operand.shape[1]))
    T[kept] = linalg.solve_triangular(triangle, inner, check_finite=False)
    error = projection_error(operand, float(np.square(inner).sum()), lambda: (Q, inner))
    return Solved(columns, C, T.astype(operand.dtype), error)
