"""Exact decompositions: truncated SVD, SVD of a product of factors, and CUR with its best core.

svd          A ≈ U diag(s) Vᵗ               Eckart-Young: no rank-k matrix is nearer to A
product_svd  B A = U diag(s) Vᵗ             through QR of B and Aᵗ; never forms the m × n product
cur          A ≈ C M R,  M = C⁺ A R⁺        C some columns and R some rows of A itself;
                                           the best core in Frobenius norm (Stewart 1999)
"""

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from continual.errors import InputError
from continual.linalg._matrix import as_matrix, check_rank, pivoted_qr
from continual.linalg.select import select


@dataclass(frozen=True, kw_only=True, eq=False)
class SVD:
    """Singular vectors and values, the largest first; each left vector's largest entry is positive.

    Attributes:
        U: (m, r), orthonormal columns.
        s: (r,), singular values.
        Vt: (r, n), orthonormal rows.
        error: ‖A − U diag(s) Vt‖_F, exact: the norm of the singular values left out.
    """

    U: np.ndarray
    s: np.ndarray
    Vt: np.ndarray
    error: float


@dataclass(frozen=True, kw_only=True, eq=False)
class CUR:
    """A matrix told through its own columns and rows.

    Attributes:
        C: (m, k) = A[:, columns].
        U: (k, k), the core that makes ‖A − C U R‖_F least.
        R: (k, n) = A[rows, :].
        columns: (k,) int64, increasing.
        rows: (k,) int64, increasing.
        error: ‖A − C U R‖_F, from the residual itself.
    """

    C: np.ndarray
    U: np.ndarray
    R: np.ndarray
    columns: np.ndarray
    rows: np.ndarray
    error: float


def svd(matrix: object, rank: int | None = None, *, energy: float | None = None) -> SVD:
    """Return the truncated singular value decomposition of an (m, n) matrix.

    Args:
        matrix: (m, n), an array or a tensor.
        rank: how many singular values to keep; all of them by default.
        energy: keep the fewest that hold at least this share of ‖A‖²_F, in (0, 1].

    Raises:
        InputError: both ``rank`` and ``energy`` given, either out of range, unusable matrix.

    >>> svd(np.diag([3.0, 4.0]), rank=1).error
    3.0
    """
    if rank is not None and energy is not None:
        raise InputError("svd takes a rank or a share of energy, not both.")
    array = as_matrix(matrix)
    U, s, Vt = linalg.svd(array, full_matrices=False, check_finite=False)
    return _truncated(U, s, Vt, _kept(s, rank, energy, array.shape))


def product_svd(left: object, right: object, rank: int | None = None) -> SVD:
    """Return the SVD of ``left @ right`` for (m, r) and (r, n) factors in O((m + n) r²).

    At most min(m, r, n) values are returned.

    Raises:
        InputError: inner sizes differ, rank out of range, unusable factors.
    """
    B, A = as_matrix(left, "left"), as_matrix(right, "right")
    if B.shape[1] != A.shape[0]:
        raise InputError(f"cannot multiply shapes {B.shape} and {A.shape}.")
    Q_left, T_left = np.linalg.qr(B)
    Q_right, T_right = np.linalg.qr(A.T)
    U, s, Vt = linalg.svd(T_left @ T_right.T, full_matrices=False, check_finite=False)
    kept = _kept(s, rank, None, (B.shape[0], A.shape[1]))
    return _truncated(Q_left @ U, s, Vt @ Q_right.T, kept)


def cur(matrix: object, rank: int, *, policy: str = "pivot", seed: int = 0) -> CUR:
    """Approximate an (m, n) matrix by ``rank`` of its columns and as many of its rows.

    The core is solved from QR factors with column pivoting; columns or rows that depend on the
    others (beyond eps · max(m, n)) get zeros there, so repeated columns do no harm.

    Args:
        matrix: (m, n), an array or a tensor.
        rank: columns and rows to keep, at most min(m, n).
        policy: how to choose them, see ``continual.linalg.select``.
        seed: of the draw; rows and columns draw from streams of their own.

    Raises:
        InputError: rank out of range, unknown policy, unusable matrix.
    """
    array = as_matrix(matrix)
    rank = check_rank(rank, min(array.shape), array.shape)
    columns = select(array, rank, axis=1, policy=policy, seed=2 * seed)
    rows = select(array, rank, axis=0, policy=policy, seed=2 * seed + 1)
    C, R = array[:, columns], array[rows, :]
    Q_c, T_c, kept_c = _basis(C)
    Q_r, T_r, kept_r = _basis(R.T)
    inner = Q_c.T @ array @ Q_r
    core = np.zeros((rank, rank))
    half = linalg.solve_triangular(T_c, inner, check_finite=False)
    solved = linalg.solve_triangular(T_r, half.T, check_finite=False).T
    core[np.ix_(kept_c, kept_r)] = solved
    error = float(np.linalg.norm(array - (Q_c @ inner) @ Q_r.T))
    return CUR(C=C, U=core, R=R, columns=columns, rows=rows, error=error)


def _basis(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orthonormal basis Q, triangle T and the kept columns, with columns[:, kept] = Q T."""
    Q, T, pivots = pivoted_qr(columns)
    diagonal = np.abs(np.diagonal(T))
    smallest = np.finfo(np.float64).eps * max(columns.shape) * diagonal[0]
    independent = int((diagonal > smallest).sum())
    return Q[:, :independent], T[:independent, :independent], pivots[:independent]


def _kept(s: np.ndarray, rank: int | None, energy: float | None, shape: tuple[int, ...]) -> int:
    if rank is not None:
        return check_rank(rank, s.size, shape)
    if energy is None:
        return s.size
    if not 0.0 < energy <= 1.0:
        raise InputError(f"the share of energy must be in (0, 1]; got {energy}.")
    held = np.cumsum(np.square(s))
    return min(s.size, 1 + int(np.searchsorted(held, energy * held[-1] * (1.0 - 1e-15))))


def _truncated(U: np.ndarray, s: np.ndarray, Vt: np.ndarray, rank: int) -> SVD:
    largest = U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])]
    signs = np.where(largest < 0.0, -1.0, 1.0)[:rank]
    return SVD(
        U=U[:, :rank] * signs,
        s=s[:rank],
        Vt=Vt[:rank] * signs[:, None],
        error=float(np.linalg.norm(s[rank:])),
    )
