"""How many directions to keep, and the random sketches that find them.

    S_0 = Ωᵗ A (l, n),   S_q = Y_qᵗ A,   Y_q a well-spread basis of A S_{q−1}ᵗ     the sketch
    A ≈ (A Z) Zᵗ,        Z an orthonormal basis of the rows of S_q                  the range finder

Halko, Martinsson and Tropp (2011), arXiv:0909.4061: with l = k + p Gaussian test vectors

    E ‖A − A Z Zᵗ‖_F ≤ √(1 + k/(p − 1)) ‖A − A_k‖_F                      (thm. 10.5, q = 0)
    E ‖A − A Z Zᵗ‖₂ ≤ (1 + √(k/(p − 1)) + e √(k + p)/p √(min(m, n) − k))^{1/(2q+1)} σ_{k+1}
                                                                         (cor. 10.10)

A sketch belongs to a prepared matrix, so its decompositions share it, and q power iterations go on
from q − 1. Test vectors are a pure function of (seed, size): quantiles of the normal distribution
that PCG64's raw stream chooses, which numpy never changes; each purpose has a stream of its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from scipy import linalg

from continual.errors import InputError
from continual.linalg.draws import gaussian
from continual.linalg.operand import Operand

SMALL = 512  # min(m, n) up to which the exact SVD is taken
LARGE_SHARE = 0.3  # of min(m, n): ranks above it are left to the exact SVD
DENSE = 2**26  # numbers up to which a sparse matrix or an operator may be made dense for it
OVERSAMPLE = 10  # p, directions that a sketch looks at beyond k
MENDABLE = 0.5  # ‖QᵗQ − I‖ from which another Cholesky-QR gives an orthonormal basis
FIRST_BLOCK = 16  # directions tried first where a tolerance decides; doubled until it is met

Choice = tuple[np.ndarray, ...]  # indices in the order of choice: of columns, and of rows if any
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How much to keep: a rank, or the least that meets a tolerance or a share of energy.

    Attributes:
        rank: exactly this many; None where a tolerance decides.
        tolerance: keep the fewest with ‖A − Â‖_F ≤ tolerance · ‖A‖_F; an energy e is √(1 − e).
    """

    rank: int | None
    tolerance: float | None

    def count(self, left: np.ndarray, total: float) -> int:
        """Return how many to keep, given the squared error ``left[k]`` of keeping k + 1.

        Where even the last does not meet the tolerance, all are kept.
        """
        if self.rank is not None:
            return self.rank
        met = [self.is_met(float(np.sqrt(error)), total) for error in left]
        return met.index(True) + 1 if True in met else len(met)

    def is_met(self, error: float, total: float) -> bool:
        """Say whether an error ‖A − Â‖_F is small enough for an energy ‖A‖²_F."""
        slack = 1.0 + 1e-12  # so that an energy of exactly the share counts as that share
        return self.tolerance is None or bool(error**2 <= self.tolerance**2 * total * slack)


class Triplets(NamedTuple):
    """Leading singular triplets U (m, l), s (l,) decreasing, Vt (l, n); and how they were found."""

    U: np.ndarray
    s: np.ndarray
    Vt: np.ndarray
    method: str


def wanted(
    largest: int,
    shape: tuple[int, ...],
    rank: int | None,
    tolerance: float | None,
    energy: float | None,
) -> Wanted:
    """Read the three ways to say how much; none of them means everything.

    Raises:
        InputError: more than one given, or one out of its range.
    """
    if sum(given is not None for given in (rank, tolerance, energy)) > 1:
        raise InputError("give a rank, a tolerance or a share of energy; not both or all of them.")
    if tolerance is not None and not 0.0 <= tolerance < 1.0:
        raise InputError(f"the tolerance is relative to ‖A‖_F, in [0, 1); got {tolerance}.")
    if energy is not None and not 0.0 < energy <= 1.0:
        raise InputError(f"the share of energy must be in (0, 1]; got {energy}.")
    if energy is not None:
        tolerance = float(np.sqrt(1.0 - energy))
    if rank is None and tolerance is None:
        rank = largest
    if rank is not None:
        rank = check_rank(rank, largest, shape)
    return Wanted(rank=rank, tolerance=tolerance)


def check_rank(rank: Any, largest: int, shape: tuple[int, ...]) -> int:
    """Return ``rank`` if it is an integer between 1 and ``largest``.

    Raises:
        InputError: it is not.
    """
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer):
        raise InputError(f"the rank must be an integer; got {rank!r}.")
    if not 1 <= rank <= largest:
        raise InputError(
            f"the rank must be between 1 and {largest} for a matrix of shape {shape}; got {rank}."
        )
    return int(rank)


def check_natural(name: str, value: Any) -> int:
    """Return a seed or another integer that is at least 0.

    Raises:
        InputError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
        raise InputError(f"the {name} must be at least 0 and an integer; got {value!r}.")
    return int(value)


def shortest(
    largest: int,
    choose: Callable[[int], Choice],
    solve: Callable[[Choice], Found],
    good: Callable[[Found], bool],
) -> Found:
    """Double a choice until what is solved with it is good, then bisect its shortest good prefix.

    Where not even the ``largest`` choice is good, what that one gives is returned.
    """
    unmet, count = 0, min(FIRST_BLOCK, largest)
    chosen = choose(count)
    found = solve(chosen)
    while not good(found):
        if count == largest:
            return found
        unmet, count = count, min(2 * count, largest)
        chosen = choose(count)
        found = solve(chosen)
    while count - unmet > 1:
        middle = (unmet + count) // 2
        shorter = solve(tuple(indices[:middle] for indices in chosen))
        if good(shorter):
            found, count = shorter, middle
        else:
            unmet = middle
    return found


def thin_qr(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal Q (m, k) and triangular T (k, n) with X = Q T, k = min(m, n)."""
    found: Any = linalg.qr(X, mode="economic", check_finite=False)
    return found


def orthonormal(X: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the columns of a tall matrix.

    Cholesky-QR twice (Yamamoto et al. 2015), which is matrix products but for (k, k) matrices;
    Householder's QR where the first left more to mend than the second can.
    """
    Q = well_spread(X)
    gram = Q.T @ Q
    if not np.abs(gram - np.eye(len(gram), dtype=gram.dtype)).max() <= MENDABLE / len(gram):
        return thin_qr(X)[0]
    return Q @ np.linalg.inv(np.linalg.cholesky(gram)).T


def well_spread(X: np.ndarray) -> np.ndarray:
    """Return another basis of the columns of a tall matrix, of which none is nearly the others.

    Cholesky-QR: orthonormal where X is well conditioned; a power iteration needs no more. Where
    the Gram matrix is not positive, a true QR.
    """
    try:
        return X @ np.linalg.inv(np.linalg.cholesky(X.T @ X)).T
    except np.linalg.LinAlgError:
        return thin_qr(X)[0]


def independent(X: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return orthonormal Q, triangle T and the kept columns, with X[:, kept] = Q T, in float64.

    Columns that add less than ``share`` of the largest pivot to those before them are left out.
    """
    wide = X.astype(np.float64, copy=False)
    found: Any = linalg.qr(wide, mode="economic", pivoting=True, check_finite=False)
    Q, T, order = found
    diagonal = np.abs(np.diagonal(T))
    count = int((diagonal > share * diagonal[0]).sum())
    return Q[:, :count], T[:count, :count], order[:count]


def sketch(operand: Operand, size: int, power: int, seed: int) -> np.ndarray:
    """Return S_q (l, n) with l = min(size, m), computed once per prepared matrix."""
    size = min(size, operand.shape[0])

    def compute() -> np.ndarray:
        if power == 0:
            Y = gaussian(seed, "sketch of columns", operand.shape[0], size, operand.dtype)
        else:
            before = sketch(operand, size, power - 1, seed)
            Y = well_spread(operand.times(well_spread(before.T)))
        return np.ascontiguousarray(operand.transposed_times(Y).T)

    return operand.once(("sketch", size, power, seed), compute)


def row_sketch(operand: Operand, size: int, seed: int) -> np.ndarray:
    """Return (A Ω)ᵗ (l, m) with l = min(size, n): the sketch of Aᵗ, without transposing A."""
    size = min(size, operand.shape[1])

    def compute() -> np.ndarray:
        X = gaussian(seed, "sketch of rows", operand.shape[1], size, operand.dtype)
        return np.ascontiguousarray(operand.times(X).T)

    return operand.once(("row sketch", size, seed), compute)


def is_exact(operand: Operand, count: int) -> bool:
    """Say whether ``count`` leading triplets are worth an exact SVD of the whole matrix."""
    m, n = operand.shape
    if not isinstance(operand.values, np.ndarray) and m * n > DENSE:
        return False
    return operand.smaller <= SMALL or count > LARGE_SHARE * operand.smaller


def randomized(operand: Operand, size: int, power: int, seed: int) -> Triplets:
    """Return up to ``size`` triplets of A Z Zᵗ; s never exceeds the true singular values."""
    size = min(size, operand.smaller)

    def compute() -> Triplets:
        Z = orthonormal(sketch(operand, size, power, seed).T)
        image = operand.times(Z)
        Q = orthonormal(image)
        U, s, W = np.linalg.svd(Q.T @ image, full_matrices=False)
        return signed(Q @ U, s, W @ Z.T, "randomized")

    return operand.once(("randomized", size, power, seed), compute)


def exact(operand: Operand) -> Triplets:
    """Return all min(m, n) triplets by LAPACK's divide and conquer."""

    def compute() -> Triplets:
        found: Any = linalg.svd(operand.dense(), full_matrices=False, check_finite=False)
        U, s, Vt = found
        return signed(U, s, Vt, "exact")

    return operand.once("exact", compute)


def signed(U: np.ndarray, s: np.ndarray, Vt: np.ndarray, method: str) -> Triplets:
    """Return the triplets with the largest entry of every left vector positive."""
    largest = U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])]
    signs = np.where(largest < 0.0, -1.0, 1.0).astype(U.dtype)
    return Triplets(U * signs, s, Vt * signs[:, None], method)


def leading(operand: Operand, k: int, *, power: int, seed: int) -> Triplets:
    """Return at least min(k, m, n) leading triplets, exact where that is cheap."""
    if is_exact(operand, k):
        return exact(operand)
    return randomized(operand, k + OVERSAMPLE, power, seed)
