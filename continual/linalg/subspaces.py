"""How large, how spread and how aligned: norms, effective rank and principal angles."""

import numpy as np
from scipy import linalg

from continual.errors import InputError
from continual.linalg._matrix import as_array, as_matrix


def gram_norm(left: object, right: object, *, core: object | None = None) -> float:
    """Return ‖left · core · right‖_F from Gram matrices, without forming the m × n product.

        ‖L M R‖²_F = tr(Mᵗ (LᵗL) M (R Rᵗ))

    O((m + n) r²) in float64. What is smaller than about 1e-8 · ‖L‖‖M‖‖R‖ drowns in rounding.

    Args:
        left: (m, r), for instance C of CURLoRA or B of LoRA.
        right: (q, n), for instance R or A.
        core: (r, q), for instance U; the identity (then r = q) by default.

    Raises:
        InputError: sizes that cannot be multiplied, unusable factors.

    >>> gram_norm(np.eye(2), 3.0 * np.eye(2), core=[[0.0, 1.0], [0.0, 0.0]])
    3.0
    """
    L, R = as_matrix(left, "left"), as_matrix(right, "right")
    M = np.eye(L.shape[1]) if core is None else as_matrix(core, "core")
    if (L.shape[1], R.shape[0]) != M.shape:
        raise InputError(f"cannot multiply shapes {L.shape}, {M.shape} and {R.shape}.")
    squared = np.sum(M * ((L.T @ L) @ M @ (R @ R.T)))
    return float(np.sqrt(max(squared, 0.0)))


def effective_rank(singular_values: object) -> float:
    """Return exp of the entropy of the normalised singular values (Roy and Vetterli 2007).

    k equal values give k, one dominant value gives about 1, all zeros give 0.

    Args:
        singular_values: (r,), non-negative; ``svd(ΔW).s`` or ``product_svd(B, A).s``.

    Raises:
        InputError: not one-dimensional, empty, negative or not finite.

    >>> round(effective_rank([2.0, 2.0, 0.0]), 6)
    2.0
    """
    s = as_array(singular_values)
    if s.ndim != 1 or s.size == 0 or not np.isfinite(s).all() or (s < 0.0).any():
        raise InputError(
            f"singular values are finite, non-negative and one-dimensional; got shape {s.shape}. "
            "For a matrix, pass svd(matrix).s."
        )
    total = s.sum()
    if total == 0.0:
        return 0.0
    share = s[s > 0.0] / total
    return float(np.exp(-np.sum(share * np.log(share))))


def principal_angles(first: object, second: object) -> np.ndarray:
    """Return the angles between two column spaces, in radians, the smallest first.

    Args:
        first: (m, p); its columns span one space, dependent columns are allowed.
        second: (m, q).

    Returns:
        (min(rank p, rank q),) in [0, π/2]; 0 means a shared direction, π/2 an orthogonal one.

    Raises:
        InputError: different numbers of rows, a space that is only the origin, unusable matrices.

    >>> principal_angles(np.eye(3)[:, :2], np.eye(3)[:, 1:]).round(4).tolist()
    [0.0, 1.5708]
    """
    X, Y = as_matrix(first, "first"), as_matrix(second, "second")
    if X.shape[0] != Y.shape[0]:
        raise InputError(f"both spaces must live in one space; got {X.shape} and {Y.shape}.")
    if not X.any() or not Y.any():
        raise InputError("a matrix of zeros spans no direction to measure an angle to.")
    return np.sort(linalg.subspace_angles(X, Y))
