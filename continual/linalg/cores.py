"""The small matrices in the middle of a CUR: solved for, inverted, and how well conditioned."""

import numpy as np
from scipy import linalg

from continual.linalg.operand import Operand


def inner_product(operand: Operand, Q_c: np.ndarray, Q_r: np.ndarray, *, wide: bool) -> np.ndarray:
    """Return Q_cᵗ A Q_r in float64; ``wide`` multiplies in float64 too, block by block."""
    if not wide or operand.dtype == np.float64:
        return operand.transposed_times(Q_c).T.astype(np.float64) @ Q_r
    total = np.zeros((Q_c.shape[1], Q_r.shape[1]))
    for place, rows in operand.blocks():
        total += Q_c[place].T @ (rows.astype(np.float64) @ Q_r)
    return total


def condition(triangle: np.ndarray, count: int) -> float:
    """Return cond₂ of ``count`` columns whose independent ones have this triangle."""
    if len(triangle) < count or count == 0:
        return float("inf") if count else 1.0
    s = linalg.svdvals(triangle.astype(np.float64), check_finite=False)
    return float(s[0] / s[-1])


def inverse_norm(square: np.ndarray) -> float:
    """Return ‖square⁻¹‖₂, infinite where it is singular."""
    smallest = float(linalg.svdvals(square.astype(np.float64), check_finite=False)[-1])
    return 1.0 / smallest if smallest > 0.0 else float("inf")


def truncated_inverse(crossing: np.ndarray, share: float) -> np.ndarray:
    """Return (k, l) from A[I, J] (l, k), singular values below a share of the largest cut."""
    U, s, Vt = linalg.svd(crossing, full_matrices=False, check_finite=False)
    kept = s > share * s[0]
    return (Vt[kept].T / s[kept]) @ U[:, kept].T
