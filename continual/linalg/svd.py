"""Truncated singular value decompositions: exact, randomised, by Lanczos, and of a product.

A ≈ U diag(s) Vᵗ        Eckart-Young: no rank-k matrix is nearer to A in either norm

exact       LAPACK's divide and conquer
randomized  projection on sketched directions (Halko, Martinsson and Tropp 2011), see ``ranges``
arpack      implicitly restarted Lanczos (scipy's svds), to working precision
auto        exact where min(m, n) ≤ 512 or the rank exceeds 0.3 min(m, n), else randomized
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import svds

from continual.errors import InputError, unknown
from continual.linalg.operand import Operand, prepare
from continual.linalg.ranges import (
    FIRST_BLOCK,
    LARGE_SHARE,
    OVERSAMPLE,
    SMALL,
    Triplets,
    Wanted,
    check_rank,
    check_seed,
    exact,
    gaussian,
    is_exact,
    randomized,
    signed,
    wanted,
)
from continual.linalg.residuals import projection_error, spectral_error

METHODS: tuple[str, ...] = ("auto", "exact", "randomized", "arpack")
CANCELLED = 1e5  # times machine epsilon: the least share of ‖A‖² that a difference can tell
POWER = 2  # power iterations of the randomised method


@dataclass(frozen=True, kw_only=True, eq=False)
class SVD:
    """Singular vectors and values, the largest first; each left vector's largest entry is positive.

    Attributes:
        U: (m, r), orthonormal columns.
        s: (r,), singular values.
        Vt: (r, n), orthonormal rows.
        error_fro: ‖A − U diag(s) Vt‖_F.
        error_spectral: ‖A − U diag(s) Vt‖₂, exact or estimated from below; None if not asked for.
        optimal_error_fro: the least any rank-r matrix can have; None where it is not known.
        method: exact, randomized, arpack or product.
        seed: of the test vectors.
        seconds: that it took.
    """

    U: np.ndarray
    s: np.ndarray
    Vt: np.ndarray
    error_fro: float
    error_spectral: float | None
    optimal_error_fro: float | None
    method: str
    seed: int
    seconds: float


def svd(
    matrix: object,
    rank: int | None = None,
    *,
    tolerance: float | None = None,
    energy: float | None = None,
    method: str = "auto",
    oversample: int = OVERSAMPLE,
    power: int = POWER,
    seed: int = 0,
    diagnose: bool = True,
) -> SVD:
    """Return the truncated singular value decomposition of an (m, n) matrix.

    Args:
        matrix: (m, n), whatever ``prepare`` takes.
        rank: how many singular values to keep; all of them by default.
        tolerance: instead of a rank: keep the fewest with ‖A − Â‖_F ≤ tolerance · ‖A‖_F.
        energy: instead: keep the fewest that hold at least this share of ‖A‖²_F, in (0, 1].
        method: one of ``METHODS``; auto is stated in the module.
        oversample: p, further directions that the randomised method looks at, at least 0.
        power: q, its power iterations, at least 0; more of them where the spectrum decays slowly.
        seed: of its test vectors and of Lanczos' start, at least 0.
        diagnose: estimate the spectral error too, where it is not known anyway.

    Raises:
        InputError: an argument out of range, unknown method, unusable matrix.

    >>> svd(np.diag([3.0, 4.0]), rank=1).error_fro
    3.0
    """
    began = time.perf_counter()
    if method not in METHODS:
        raise unknown("SVD method", method, METHODS)
    for name, value in (("oversample", oversample), ("power", power)):
        if value < 0:
            raise InputError(f"{name} must be at least 0; got {value}.")
    check_seed(seed)
    operand = prepare(matrix)
    need = wanted(operand, rank, tolerance, energy)
    if method == "auto":
        method = "exact" if is_exact(operand, need.rank or FIRST_BLOCK) else "randomized"
    if method == "exact":
        found = exact(operand)
    elif method == "arpack":
        found = _lanczos(operand, need, seed)
    else:
        found = _randomized(operand, need, oversample, power, seed)
    left, total = _left(operand, found), operand.energy
    kept = need.count(left, total)
    return _truncated(operand, found, kept, method, seed, diagnose, began)


def product_svd(left: object, right: object, rank: int | None = None) -> SVD:
    """Return the SVD of ``left @ right`` for (m, r) and (r, n) factors in O((m + n) r²).

    QR of both factors, then the SVD of the (r, r) middle; the m × n product is never formed.
    At most min(m, r, n) values are returned.

    Raises:
        InputError: inner sizes differ, rank out of range, unusable factors.
    """
    began = time.perf_counter()
    B, A = prepare(left, "left").dense(), prepare(right, "right").dense()
    if B.shape[1] != A.shape[0]:
        raise InputError(f"cannot multiply shapes {B.shape} and {A.shape}.")
    Q_left, T_left = np.linalg.qr(B)
    Q_right, T_right = np.linalg.qr(A.T)
    U, s, Vt = linalg.svd(T_left @ T_right.T, full_matrices=False, check_finite=False)
    found = signed(Q_left @ U, s, Vt @ Q_right.T, exact=True)
    kept = len(s) if rank is None else check_rank(rank, len(s), (B.shape[0], A.shape[1]))
    error = float(np.linalg.norm(s[kept:]))
    return SVD(
        U=found.U[:, :kept],
        s=s[:kept],
        Vt=found.Vt[:kept],
        error_fro=error,
        error_spectral=float(s[kept]) if kept < len(s) else 0.0,
        optimal_error_fro=error,
        method="product",
        seed=0,
        seconds=time.perf_counter() - began,
    )


def optimal_error(matrix: object, rank: int, *, seed: int = 0) -> float:
    """Return the least ‖A − Â‖_F of any Â of this rank, from exact or Lanczos singular values.

    Raises:
        InputError: rank out of range, unusable matrix.
    """
    operand = prepare(matrix)
    check_rank(rank, operand.smaller, operand.shape)
    return svd(operand, rank, method=converged(operand, rank), seed=seed, diagnose=False).error_fro


def converged(operand: Operand, rank: int) -> str:
    """Return the cheaper of the two methods that find singular values to working precision."""
    return "exact" if is_exact(operand, rank) else "arpack"


def _lanczos(operand: Operand, need: Wanted, seed: int) -> Triplets:
    """Return the wanted triplets; a rank that Lanczos cannot give is left to the exact SVD."""
    rank = need.rank
    if rank is None:
        raise InputError("method 'arpack' needs a rank; a tolerance suits 'exact' or 'randomized'.")
    if rank >= operand.smaller:
        return exact(operand)

    def compute() -> Triplets:
        start = gaussian(seed, operand.smaller, 1, operand.dtype)[:, 0]
        found: Any = svds(operand.values, k=rank, v0=start, solver="arpack")
        U, s, Vt = found
        order = np.argsort(-s, kind="stable")
        return signed(U[:, order], s[order], Vt[order], exact=True)

    return operand.once(("arpack", rank, seed), compute)


def _randomized(operand: Operand, need: Wanted, oversample: int, power: int, seed: int) -> Triplets:
    """Return triplets enough for what is wanted, from sketches that double until they are."""
    if need.rank is not None:
        return randomized(operand, need.rank + oversample, power, seed)
    assert need.tolerance is not None
    if need.tolerance < np.sqrt(CANCELLED * np.finfo(operand.dtype).eps):
        return exact(operand)  # the error of a projection could not be told from rounding
    count = FIRST_BLOCK
    while count <= max(LARGE_SHARE * operand.smaller, SMALL):
        found = randomized(operand, count + oversample, power, seed)
        if need.is_met(float(np.sqrt(_left(operand, found)[-1])), operand.energy):
            return found
        count *= 2
    return exact(operand)


def _left(operand: Operand, found: Triplets) -> np.ndarray:
    """Return the squared error of keeping 1, 2, ... triplets; it is exact where all are known."""
    squares = np.square(found.s, dtype=np.float64)
    if len(squares) == operand.smaller:
        return np.append(np.cumsum(squares[:0:-1])[::-1], 0.0)
    return np.maximum(operand.energy - np.cumsum(squares), 0.0)


def _truncated(
    operand: Operand,
    found: Triplets,
    kept: int,
    method: str,
    seed: int,
    diagnose: bool,
    began: float,
) -> SVD:
    U, s, Vt = found.U[:, :kept], found.s[:kept], found.Vt[:kept]
    spectral: float | None = None
    if len(found.s) == operand.smaller and found.exact:
        error = float(np.linalg.norm(found.s[kept:].astype(np.float64)))
        spectral = float(found.s[kept]) if kept < len(found.s) else 0.0
    else:
        captured = float(np.square(s, dtype=np.float64).sum())
        error = projection_error(operand, captured, lambda: (U * s, Vt))
        if diagnose:
            spectral = spectral_error(operand, U * s, Vt, seed=seed)
    return SVD(
        U=U,
        s=s,
        Vt=Vt,
        error_fro=error,
        error_spectral=spectral,
        optimal_error_fro=error if found.exact else None,
        method=method,
        seed=seed,
        seconds=time.perf_counter() - began,
    )
