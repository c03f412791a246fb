"""How many directions to keep, and the random sketches that find them.

    S = Yᵗ A  (l, n)        Y = Ω, or an orthonormal basis of (A Aᵗ)^q A Ω'     the sketch
    A ≈ (A Z) Zᵗ            Z an orthonormal basis of the rows of S            the range finder

Halko, Martinsson and Tropp (2011), arXiv:0909.4061: with l = k + p Gaussian test vectors and q
power iterations, E‖A − A Z Zᵗ‖₂ ≤ (1 + 4 √(l min(m, n)) / (p − 1))^{1/(2q+1)} σ_{k+1} (Cor. 10.10).
A sketch belongs to a prepared matrix, so its decompositions share it. The test vectors are a pure
function of (seed, size): inverse normal distribution of PCG64's raw stream.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, special

from continual.errors import InputError
from continual.linalg.operand import Operand

SMALL = 512  # min(m, n) up to which the exact SVD is taken
LARGE_SHARE = 0.3  # of min(m, n): ranks above it are left to the exact SVD
OVERSAMPLE = 10  # p, directions that a sketch looks at beyond k
FIRST_BLOCK = 16  # directions tried first where a tolerance decides; doubled until it is met


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
        assert self.tolerance is not None
        met = left <= self.tolerance**2 * total * (1.0 + 1e-12)
        return int(np.argmax(met)) + 1 if met.any() else len(left)

    def is_met(self, error: float, total: float) -> bool:
        """Say whether an error ‖A − Â‖_F is small enough."""
        return self.tolerance is None or error**2 <= self.tolerance**2 * total * (1.0 + 1e-12)


class Triplets(NamedTuple):
    """Leading singular triplets: U (m, l), s (l,) decreasing, Vt (l, n); exact or randomised."""

    U: np.ndarray
    s: np.ndarray
    Vt: np.ndarray
    exact: bool


def wanted(
    operand: Operand, rank: int | None, tolerance: float | None, energy: float | None
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
        rank = operand.smaller
    if rank is not None:
        rank = check_rank(rank, operand.smaller, operand.shape)
    return Wanted(rank=rank, tolerance=tolerance)


def check_rank(rank: int, largest: int, shape: tuple[int, ...]) -> int:
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


def check_seed(seed: int) -> int:
    """Return a seed that is at least 0.

    Raises:
        InputError: it is negative.
    """
    if seed < 0:
        raise InputError(f"the seed must be at least 0; got {seed}.")
    return seed


def uniform(seed: int, count: int) -> np.ndarray:
    """Return ``count`` numbers in (0, 1) from PCG64's raw stream, which numpy never changes."""
    raw = np.random.PCG64(seed).random_raw(count)
    return ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def gaussian(seed: int, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Return independent standard normal numbers (rows, columns), a pure function of the seed."""
    values = special.ndtri(uniform(seed, rows * columns))
    return values.reshape(rows, columns).astype(dtype, copy=False)


def thin_qr(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return orthonormal Q (m, k) and triangular T (k, n) with X = Q T, k = min(m, n)."""
    found: Any = linalg.qr(X, mode="economic", check_finite=False)
    return found


def orthonormal(X: np.ndarray) -> np.ndarray:
    """Return an orthonormal basis of the columns of a tall matrix."""
    return thin_qr(X)[0]


def sketch(operand: Operand, size: int, power: int, seed: int) -> np.ndarray:
    """Return S = Yᵗ A (l, n) with l = min(size, m), computed once per prepared matrix."""
    size = min(size, operand.shape[0])

    def compute() -> np.ndarray:
        Y = gaussian(seed, operand.shape[0], size, operand.dtype)
        S = operand.transposed_times(Y)
        for _ in range(power):
            Y = orthonormal(operand.times(orthonormal(S)))
            S = operand.transposed_times(Y)
        return np.ascontiguousarray(S.T)

    return operand.once(("sketch", size, power, seed), compute)


def is_exact(operand: Operand, count: int) -> bool:
    """Say whether ``count`` leading triplets are worth an exact SVD of the whole matrix."""
    return operand.smaller <= SMALL or count > LARGE_SHARE * operand.smaller


def randomized(operand: Operand, size: int, power: int, seed: int) -> Triplets:
    """Return up to ``size`` triplets of A Z Zᵗ; s never exceeds the true singular values."""
    size = min(size, operand.smaller)

    def compute() -> Triplets:
        Z = orthonormal(sketch(operand, size, power, seed).T)
        Q, T = thin_qr(operand.times(Z))
        U, s, W = linalg.svd(T, full_matrices=False, check_finite=False)
        return signed(Q @ U, s, W @ Z.T, exact=False)

    return operand.once(("randomized", size, power, seed), compute)


def exact(operand: Operand) -> Triplets:
    """Return all min(m, n) triplets by LAPACK's divide and conquer."""

    def compute() -> Triplets:
        return signed(
            *linalg.svd(operand.dense(), full_matrices=False, check_finite=False), exact=True
        )

    return operand.once("exact", compute)


def signed(U: np.ndarray, s: np.ndarray, Vt: np.ndarray, *, exact: bool) -> Triplets:
    """Return the triplets with the largest entry of every left vector positive."""
    largest = U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])]
    signs = np.where(largest < 0.0, -1.0, 1.0).astype(U.dtype)
    return Triplets(U * signs, s, Vt * signs[:, None], exact)


def leading(operand: Operand, k: int, *, oversample: int, power: int, seed: int) -> Triplets:
    """Return at least min(k, m, n) leading triplets, exact where that is cheap."""
    if is_exact(operand, k):
        return exact(operand)
    return randomized(operand, k + oversample, power, seed)
