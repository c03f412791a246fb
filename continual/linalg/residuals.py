"""What an approximation of a matrix leaves over, measured without forming it.

The error of an orthogonal projection P of A needs no residual at all: ‖A − P‖²_F = ‖A‖²_F − ‖P‖²_F.
Where too many digits cancel there, the residual is summed over blocks of rows instead.
"""

from collections.abc import Callable

import numpy as np

from continual.linalg.draws import gaussian
from continual.linalg.operand import Operand
from continual.linalg.ranges import orthonormal

TRUSTED = {np.dtype(np.float32): 1e-2, np.dtype(np.float64): 1e-4}  # share of ‖A‖² left over
STARTS = 8  # directions of the block power iteration
STEPS = 6

Factors = tuple[np.ndarray, np.ndarray]


def projection_error(operand: Operand, captured: float, factors: Callable[[], Factors]) -> float:
    """Return ‖A − P‖_F of an orthogonal projection P of A with ‖P‖²_F = ``captured``.

    Args:
        operand: A.
        captured: in float64.
        factors: gives (L, R) with P = L R, where the residual must be formed after all.
    """
    energy = operand.energy
    left = energy - captured
    if left > TRUSTED[operand.dtype] * energy:
        return float(np.sqrt(left))
    return residual_norm(operand, *factors())


def residual_norm(operand: Operand, left: np.ndarray, right: np.ndarray) -> float:
    """Return ‖A − left right‖_F, block by block: (m, k) and (k, n) factors."""
    total = 0.0
    for place, rows in operand.blocks():
        total += float(np.square(rows - left[place] @ right, dtype=np.float64).sum())
    return float(np.sqrt(total))


def spectral_error(
    operand: Operand, left: np.ndarray, right: np.ndarray, *, seed: int = 0
) -> float:
    """Estimate ‖A − left right‖₂ from below by a block power iteration with 8 random starts."""

    def times(X: np.ndarray) -> np.ndarray:
        return operand.times(X) - left @ (right @ X)

    def transposed_times(Y: np.ndarray) -> np.ndarray:
        return operand.transposed_times(Y) - right.T @ (left.T @ Y)

    return power_iteration(times, transposed_times, operand, seed)


def power_iteration(
    times: Callable[[np.ndarray], np.ndarray],
    transposed_times: Callable[[np.ndarray], np.ndarray],
    operand: Operand,
    seed: int,
) -> float:
    """Return the largest singular value met in a block power iteration: never too large."""
    starts = min(STARTS, operand.smaller)
    X = orthonormal(gaussian(seed, "starts", operand.shape[1], starts, operand.dtype))
    for _ in range(STEPS):
        X = orthonormal(transposed_times(orthonormal(times(X))))
    return float(np.linalg.norm(times(X).astype(np.float64), 2))
