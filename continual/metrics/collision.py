"""How much the changes of two tasks get in each other's way, from their factors.

ΔW_i = B_i A_i and ΔW_j = B_j A_j are changes of one weight (m, n), given as pairs of factors (m, r)
and (r, n). What needs single entries looks at blocks of rows; no m × n matrix is kept.

    collision rate    share of entries where both changes exceed a threshold
    soft collision    Σ |ΔW_i| |ΔW_j| / (‖ΔW_i‖_F ‖ΔW_j‖_F)             no threshold, in [0, 1]
    overlap (OO)      ‖A_i A_jᵗ‖²_F                                      O-LoRA's own objective
    AWOM              ‖ΔW_iᵗ ΔW_j‖²_F                                    N-LoRA's table

Source: Yang et al. (2024), arXiv:2410.10179, section 5. There an entry collides where both are not
zero; trained factors are never zero, so the rate is 1 unless a threshold is set, and none is
published. Ours is relative: τ max |ΔW|. A run records the means over its layers, weighted by size
(``continual.trackers.collision``).
Disjoint supports mean ⟨ΔW_i, ΔW_j⟩_F = 0; they do not make ΔW_iᵗ ΔW_j zero.
"""

from collections.abc import Iterator

import numpy as np

from continual.errors import InputError
from continual.linalg import gram_norm, product_svd

BLOCK = 2**20  # numbers of a product held at once
Factors = tuple[np.ndarray, np.ndarray]


def collision_rate(first: Factors, second: Factors, threshold: float = 1e-2) -> float:
    """Return the share of entries where |ΔW_i| > τ max |ΔW_i| and |ΔW_j| > τ max |ΔW_j|.

    Args:
        first: (B_i, A_i).
        second: (B_j, A_j), of a weight of the same shape.
        threshold: τ, in [0, 1).

    Returns:
        A share in [0, 1]; 0 where one change is zero.

    Raises:
        InputError: shapes that do not fit, or a threshold out of range.

    >>> left, right = np.eye(2)[:, :1], np.ones((1, 2))
    >>> collision_rate((left, right), (np.ones((2, 1)), right))
    0.5
    """
    if not 0.0 <= threshold < 1.0:
        raise InputError(
            f"the threshold is relative to the largest change, in [0, 1); got {threshold}."
        )
    _check(first, second)
    limits = [threshold * max(np.abs(block).max() for block in _blocks(f)) for f in (first, second)]
    both = sum(
        int(((np.abs(p) > limits[0]) & (np.abs(q) > limits[1])).sum())
        for p, q in zip(_blocks(first), _blocks(second), strict=True)
    )
    return both / (first[0].shape[0] * first[1].shape[1])


def soft_collision(first: Factors, second: Factors) -> float:
    """Return Σ |ΔW_i| |ΔW_j| / (‖ΔW_i‖_F ‖ΔW_j‖_F): 1 where both have the same magnitudes.

    Returns:
        A number in [0, 1]; 0 where one change is zero.

    Raises:
        InputError: shapes that do not fit.

    >>> left, right = np.eye(2)[:, :1], np.ones((1, 2))
    >>> round(soft_collision((left, right), (-3.0 * left, right)), 6)
    1.0
    """
    _check(first, second)
    norms = gram_norm(*first) * gram_norm(*second)
    if norms == 0.0:
        return 0.0
    shared = sum(
        float(np.abs(p * q).sum()) for p, q in zip(_blocks(first), _blocks(second), strict=True)
    )
    return min(shared / norms, 1.0)


def overlap(first: Factors, second: Factors) -> float:
    """Return ‖A_i A_jᵗ‖²_F, which is 0 where the pairs read orthogonal directions.

    Raises:
        InputError: shapes that do not fit.

    >>> B = np.ones((3, 1))
    >>> overlap((B, np.array([[1.0, 2.0]])), (B, np.array([[3.0, 0.0]])))
    9.0
    """
    _check(first, second)
    return float(np.square(_wide(first[1]) @ _wide(second[1]).T).sum())


def awom(first: Factors, second: Factors) -> float:
    """Return ‖ΔW_iᵗ ΔW_j‖²_F (adapter weight orthogonality magnitude) in O((m + n) r²).

    Raises:
        InputError: shapes that do not fit.

    >>> one = (np.array([[1.0], [1.0]]), np.array([[2.0]]))
    >>> round(awom(one, one), 6)
    64.0
    """
    _check(first, second)
    core = _wide(first[0]).T @ _wide(second[0])
    return gram_norm(_wide(first[1]).T, _wide(second[1]), core=core) ** 2


def frobenius_cosine(first: Factors, second: Factors) -> float:
    """Return ⟨ΔW_i, ΔW_j⟩_F / (‖ΔW_i‖_F ‖ΔW_j‖_F), in [−1, 1]; 0 where one change is zero.

    Raises:
        InputError: shapes that do not fit.

    >>> one = (np.array([[1.0], [1.0]]), np.array([[2.0]]))
    >>> round(frobenius_cosine(one, (-one[0], one[1])), 6)
    -1.0
    """
    _check(first, second)
    norms = gram_norm(*first) * gram_norm(*second)
    if norms == 0.0:
        return 0.0
    inner = np.sum((_wide(first[0]).T @ _wide(second[0])) * (_wide(first[1]) @ _wide(second[1]).T))
    return float(np.clip(inner / norms, -1.0, 1.0))


def nuclear_norm(change: Factors) -> float:
    """Return the sum of the singular values of ΔW, from the QR of its factors.

    >>> round(nuclear_norm((np.diag([3.0, 4.0]), np.eye(2))), 6)
    7.0
    """
    return float(product_svd(*change).s.sum())


def spread(change: Factors) -> float:
    """Return ‖ΔW‖₁ / (√(m n) ‖ΔW‖_F).

    It is 1 where all entries are equally large and 1/√(m n) where there is one. This is the
    paper's generalised sparsity in the form of Hoyer (2004); 0 for a change of zeros.

    >>> round(spread((np.ones((2, 1)), np.ones((1, 3)))), 6)
    1.0
    """
    norm = gram_norm(*change)
    if norm == 0.0:
        return 0.0
    size = change[0].shape[0] * change[1].shape[1]
    return sum(float(np.abs(block).sum()) for block in _blocks(change)) / (norm * size**0.5)


def _blocks(change: Factors) -> Iterator[np.ndarray]:
    """Yield ΔW in blocks of rows, in float64."""
    B, A = _wide(change[0]), _wide(change[1])
    rows = max(1, BLOCK // A.shape[1])
    for start in range(0, B.shape[0], rows):
        yield B[start : start + rows] @ A


def _wide(factor: np.ndarray) -> np.ndarray:
    return np.asarray(factor, dtype=np.float64)


def _check(first: Factors, second: Factors) -> None:
    shapes = [(B.shape[0], A.shape[1]) for B, A in (first, second)]
    inner = [B.shape[1] == A.shape[0] for B, A in (first, second)]
    if shapes[0] != shapes[1] or not all(inner):
        given = [(B.shape, A.shape) for B, A in (first, second)]
        raise InputError(
            f"two changes of one weight are two pairs (m, r), (r, n) with one m and n; got {given}."
        )
