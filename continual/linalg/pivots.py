"""Which rows of a tall matrix X (n, l) stand for all of them: the pivots of an elimination.

Every function returns distinct row numbers in the order in which they were chosen: min(n, l) of
them, or fewer where the rest of X is rounding, whose pivots would mean nothing.

    lupp     LU with partial pivoting. On singular vectors this is DEIM (Sorensen and Embree 2016,
             arXiv:1407.5516); on a sketch, the selection of Dong and Martinsson (2023,
             arXiv:2104.05877)
    qrcp     QR with column pivoting of Xᵗ. On singular vectors: Q-DEIM (Drmač and Gugercin 2016)
    maxvol   rows p swapped in until no single swap enlarges the volume by more than 5 percent
             (Goreinov et al. 2010); for orthonormal X then ‖X[p]⁻¹‖₂ ≤ √(1 + 1.05² l (n − l))
"""

from typing import Any

import numpy as np
from scipy import linalg

GAIN = 1.05  # of the volume, below which maxvol stops
SWAPS = 200  # at most
ROUNDING = 16.0  # times eps √n: the share of the largest pivot below which pivots are rounding


def lupp(X: np.ndarray) -> np.ndarray:
    """Return the pivot rows of LU with partial pivoting."""
    (factorise,) = linalg.get_lapack_funcs(("getrf",), (X,))
    found: Any = factorise(X)
    order = np.arange(X.shape[0])
    for step, other in enumerate(found[1]):
        order[[step, other]] = order[[other, step]]
    return order[: _meaningful(np.diagonal(found[0]), X)]


def qrcp(X: np.ndarray) -> np.ndarray:
    """Return the pivots of QR with column pivoting of Xᵗ."""
    found: Any = linalg.qr(X.T, mode="r", pivoting=True, check_finite=False)
    return np.asarray(found[1])[: _meaningful(np.diagonal(found[0]), X)]


def maxvol(X: np.ndarray) -> np.ndarray:
    """Return rows whose square submatrix has nearly the largest volume; X of full column rank."""
    order = lupp(X)
    if X.shape[0] <= X.shape[1] or len(order) < X.shape[1]:
        return order
    B = np.linalg.solve(X[order].T, X.T).T
    for _ in range(SWAPS):
        i, j = np.unravel_index(np.abs(B).argmax(), B.shape)
        if abs(B[i, j]) <= GAIN:
            break
        row = B[i].copy()
        row[j] -= 1.0
        B -= np.outer(B[:, j] / B[i, j], row)
        order[j] = i
    return order


def _meaningful(diagonal: np.ndarray, X: np.ndarray) -> int:
    """Count the pivots before the first that is no larger than rounding."""
    size = np.abs(diagonal)
    small = size <= ROUNDING * np.finfo(X.dtype).eps * np.sqrt(max(X.shape)) * size.max(initial=0.0)
    return int(np.argmax(small)) if small.any() else len(size)
