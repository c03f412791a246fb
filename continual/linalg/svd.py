"""Truncated singular value decompositions: exact, randomised, by Lanczos, and of a product.

A ≈ U diag(s) Vᵗ        Eckart-Young: no rank-k matrix is nearer to A in either norm

exact       LAPACK's divide and conquer
randomized  projection on sketched directions (Halko, Martinsson and Tropp 2011), see ``ranges``
arpack      implicitly restarted Lanczos (scipy's svds), in float64 to working precision
auto        exact where min(m, n) ≤ 512 or the rank exceeds 0.3 min(m, n), else randomized; of
            sparse matrices and operators of more than 2²⁶ numbers always randomized
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackError, LinearOperator, svds

from continual.errors import InputError, unknown
from continual.linalg.draws import gaussian
from continual.linalg.operand import Operand, owned, prepare
from continual.linalg.ranges import (
    FIRST_BLOCK,
    LARGE_SHARE,
    OVERSAMPLE,
    SMALL,
    Triplets,
    Wanted,
    check_natural,
    exact,
    is_exact,
    randomized,
    signed,
    wanted,
)
from continual.linalg.residuals import projection_error, spectral_error

METHODS: tuple[str, ...] = ("auto", "exact", "randomized", "arpack")
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
        method: that was really used: exact, randomized, arpack or product.
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
    for name, value in (("oversample", oversample), ("power", power), ("seed", seed)):
        check_natural(name, value)
    operand = prepare(matrix)
    need = wanted(operand.smaller, operand.shape, rank, tolerance, energy)
    if method == "auto":
        method = "exact" if is_exact(operand, need.rank or FIRST_BLOCK) else "randomized"
    if method == "exact":
        found = exact(operand)
    elif method == "arpack":
        found = _lanczos(operand, need, seed)
    else:
        found = _randomized(operand, need, oversample, power, seed)
    kept = need.rank or need.count(_left(operand, found), operand.energy)
    return _truncated(operand, found, kept, seed, diagnose, began)


def product_svd(
    left: object,
    right: object,
    rank: int | None = None,
    *,
    tolerance: float | None = None,
    energy: float | None = None,
) -> SVD:
    """Return the SVD of ``left @ right`` for (m, r) and (r, n) factors in O((m + n) r²).

    QR of both factors, then the SVD of the (r, r) middle; the m × n product is never formed.
    At most min(m, r, n) values are returned; ``rank``, ``tolerance`` and ``energy`` as for ``svd``.

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
    found = signed(Q_left @ U, s, Vt @ Q_right.T, "product")
    need = wanted(len(s), (B.shape[0], A.shape[1]), rank, tolerance, energy)
    left_over = _tails(s)
    kept = need.count(left_over, float(np.square(s, dtype=np.float64).sum()))
    error = float(np.sqrt(left_over[kept - 1]))
    return SVD(
        U=owned(found.U[:, :kept]),
        s=owned(s[:kept]),
        Vt=owned(found.Vt[:kept]),
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
    method = converged(operand, rank)
    return svd(operand, rank, method=method, seed=seed, diagnose=False).error_fro


def converged(operand: Operand, rank: int) -> str:
    """Return the cheaper of the two methods that find singular values to working precision."""
    return "exact" if is_exact(operand, rank) else "arpack"


def _lanczos(operand: Operand, need: Wanted, seed: int) -> Triplets:
    """Return the wanted triplets; what Lanczos cannot give is left to the exact SVD.

    The matrix is widened to float64, since Lanczos works on AᵗA and squares the rounding; an
    operator works in its own dtype.
    """
    rank = need.rank
    if rank is None:
        raise InputError("method 'arpack' needs a rank; a tolerance suits 'exact' or 'randomized'.")
    if rank >= operand.smaller or operand.energy == 0.0:
        return exact(operand)
    inner: Any = operand.values
    if operand.dtype != np.float64 and not isinstance(inner, LinearOperator):
        inner = inner.astype(np.float64)

    def compute() -> Triplets:
        start = gaussian(seed, "Lanczos", operand.smaller, 1, np.dtype(np.float64))[:, 0]
        try:
            found: Any = svds(inner, k=rank, v0=start, solver="arpack")
        except ArpackError:  # did not converge
            return exact(operand)
        U, s, Vt = (part.astype(operand.dtype) for part in found)
        order = np.argsort(-s, kind="stable")
        return signed(U[:, order], s[order], Vt[order], "arpack")

    return operand.once(("arpack", rank, seed), compute)


def _randomized(operand: Operand, need: Wanted, oversample: int, power: int, seed: int) -> Triplets:
    """Return triplets enough for what is wanted, from sketches that double until they are."""
    if need.rank is not None:
        return randomized(operand, need.rank + oversample, power, seed)
    count = FIRST_BLOCK
    while count <= max(LARGE_SHARE * operand.smaller, min(SMALL, operand.smaller)):
        found = randomized(operand, count + oversample, power, seed)
        if need.is_met(_error(operand, found, len(found.s)), operand.energy):
            return found
        count *= 2
    return exact(operand)


def _tails(s: np.ndarray) -> np.ndarray:
    """Return Σ_{j>k} s_j² for k = 1, 2, ..., without subtracting."""
    return np.append(np.cumsum(np.square(s, dtype=np.float64)[:0:-1])[::-1], 0.0)


def _error(operand: Operand, found: Triplets, kept: int) -> float:
    """Return ‖A − U diag(s) Vᵗ‖_F of the first triplets."""
    if len(found.s) == operand.smaller and found.method == "exact":
        return float(np.linalg.norm(found.s[kept:].astype(np.float64)))
    U, s, Vt = found.U[:, :kept], found.s[:kept], found.Vt[:kept]
    captured = float(np.square(s, dtype=np.float64).sum())
    return projection_error(operand, captured, lambda: (U * s, Vt))


def _left(operand: Operand, found: Triplets) -> np.ndarray:
    """Return the squared error of keeping 1, 2, ... triplets."""
    return _tails(found.s) + _error(operand, found, len(found.s)) ** 2


def _truncated(
    operand: Operand, found: Triplets, kept: int, seed: int, diagnose: bool, began: float
) -> SVD:
    U, s, Vt = owned(found.U[:, :kept]), owned(found.s[:kept]), owned(found.Vt[:kept])
    error = _error(operand, found, kept)
    spectral: float | None = None
    if found.method == "exact":
        spectral = float(found.s[kept]) if kept < len(found.s) else 0.0
    elif diagnose:
        spectral = spectral_error(operand, U * s, Vt, seed=seed)
    return SVD(
        U=U,
        s=s,
        Vt=Vt,
        error_fro=error,
        error_spectral=spectral,
        optimal_error_fro=None if found.method == "randomized" else error,
        method=found.method,
        seed=seed,
        seconds=time.perf_counter() - began,
    )
