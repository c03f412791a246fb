"""Choose rows or columns of a matrix by their energy (squared norm) or by pivoting.

With p_j the share of the matrix's energy that lies in column j:

    inverse_norm  without replacement, weights 1 / max(p_j, 1e-6 / n)   CURLoRA's draw, eq. 3-5 of
                                                                       arXiv:2408.14572, made exact
    norm          without replacement, weights max(p_j, 1e-6 / n)       Drineas et al. (2006)
    uniform       without replacement, equal weights
    min_norm      the k of least energy (ties by position); takes no chance
    pivot         the first k pivots of QR with column pivoting; takes no chance

Draws without replacement are Gumbel top-k: keep the k largest of log w_j + g_j (Efraimidis and
Spirakis 2006; Kool et al. 2019), from the raw stream of PCG64, which numpy promises not to change.
"""

import numpy as np

from continual.errors import InputError, unknown
from continual.linalg._matrix import as_matrix, check_rank, pivoted_qr

POLICIES: tuple[str, ...] = ("inverse_norm", "min_norm", "norm", "pivot", "uniform")
_FLOOR = 1e-6  # of the mean share: keeps 1/p finite on empty rows and columns


def select(
    matrix: object, k: int, *, axis: int, policy: str = "inverse_norm", seed: int = 0
) -> np.ndarray:
    """Return k distinct indices of rows (axis 0) or columns (axis 1), sorted.

    Args:
        matrix: (m, n), an array or a tensor.
        k: how many; at most m for rows and n for columns.
        axis: 0 chooses rows, 1 chooses columns.
        policy: one of ``POLICIES``.
        seed: of the draw, at least 0. Policies that take no chance ignore it.

    Returns:
        int64 indices (k,), increasing.

    Raises:
        InputError: unknown policy or axis, k out of range, negative seed, unusable matrix.

    >>> select(np.diag([1.0, 3.0, 2.0]), 2, axis=1, policy="min_norm")
    array([0, 2])
    """
    if policy not in POLICIES:
        raise unknown("selection policy", policy, POLICIES)
    if axis not in (0, 1):
        raise InputError(f"axis must be 0 (rows) or 1 (columns); got {axis!r}.")
    if seed < 0:
        raise InputError(f"the seed must be at least 0; got {seed}.")
    array = as_matrix(matrix)
    k = check_rank(k, array.shape[axis], array.shape)
    if policy == "pivot":
        _, _, pivots = pivoted_qr(array if axis == 1 else array.T)
        return np.sort(pivots[:k]).astype(np.int64)
    energy = energies(array, axis)
    if policy == "min_norm":
        return np.sort(np.argsort(energy, kind="stable")[:k]).astype(np.int64)
    return _draw(_log_weights(energy, policy), k, seed)


def energies(matrix: object, axis: int) -> np.ndarray:
    """Return the squared norm of every row (axis 0) or column (axis 1) of an (m, n) matrix."""
    return np.square(as_matrix(matrix)).sum(axis=1 - axis)


def _log_weights(energy: np.ndarray, policy: str) -> np.ndarray:
    total = energy.sum()
    if policy == "uniform" or total == 0.0:
        return np.zeros_like(energy)
    share = np.maximum(energy / total, _FLOOR / energy.size)
    return -np.log(share) if policy == "inverse_norm" else np.log(share)


def _draw(log_weights: np.ndarray, k: int, seed: int) -> np.ndarray:
    raw = np.random.PCG64(seed).random_raw(log_weights.size)
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    keys = log_weights - np.log(-np.log(uniform))
    return np.sort(np.argsort(-keys, kind="stable")[:k]).astype(np.int64)
