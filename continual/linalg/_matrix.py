"""From whatever holds a matrix to a float64 array that is safe to decompose."""

import sys
from typing import Any

import numpy as np
from scipy import linalg

from continual.errors import InputError


def as_array(values: Any) -> np.ndarray:
    """Return the numbers of an array, a nested list or a torch tensor as float64.

    torch is looked up among the loaded modules: someone who holds a tensor has imported it.
    """
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return values.detach().to(device="cpu", dtype=torch.float64).contiguous().numpy()
    try:
        return np.ascontiguousarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"expected a matrix of real numbers; got {type(values)}: {error}"
        ) from None


def as_matrix(values: object, name: str = "matrix") -> np.ndarray:
    """Return ``values`` as a C-contiguous float64 matrix (m, n).

    Raises:
        InputError: not two-dimensional, empty, or holding NaN or infinity.
    """
    matrix = as_array(values)
    if matrix.ndim != 2:
        raise InputError(f"{name} must have two dimensions; got shape {matrix.shape}.")
    if matrix.size == 0:
        raise InputError(f"{name} must not be empty; got shape {matrix.shape}.")
    if not np.isfinite(matrix).all():
        bad = int(matrix.size - np.isfinite(matrix).sum())
        raise InputError(f"{name} must be finite; {bad} of its {matrix.size} numbers are not.")
    return matrix


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


def pivoted_qr(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (Q, T, pivots) with matrix[:, pivots] = Q T and |diag T| decreasing."""
    found: Any = linalg.qr(matrix, mode="economic", pivoting=True, check_finite=False)
    return found
