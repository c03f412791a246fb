"""How large, how spread and how aligned: norms, ranks, angles and intruder dimensions."""

from collections.abc import Sequence

import numpy as np
from scipy import linalg

from continual.errors import InputError
from continual.linalg.operand import prepare
from continual.linalg.ranges import (
    check_natural,
    check_rank,
    exact,
    independent,
    is_exact,
    leading,
)
from continual.linalg.residuals import power_iteration
from continual.linalg.svd import converged, svd


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
    L, R = _wide(left, "left"), _wide(right, "right")
    M = np.eye(L.shape[1]) if core is None else _wide(core, "core")
    if (L.shape[1], R.shape[0]) != M.shape:
        raise InputError(f"cannot multiply shapes {L.shape}, {M.shape} and {R.shape}.")
    return core_norm(M, L.T @ L, R @ R.T)


def core_norm(core: object, left_gram: object, right_gram: object) -> float:
    """Return ‖L M R‖_F from M and the Gram matrices LᵗL and R Rᵗ alone, in O(r³).

    For a CUR update α C U R whose C and R never change: ‖ΔW‖_F = α core_norm(U, CᵗC, R Rᵗ).

    Args:
        core: M (r, q).
        left_gram: LᵗL (r, r).
        right_gram: R Rᵗ (q, q).

    Raises:
        InputError: sizes that do not fit, unusable matrices.

    >>> core_norm([[0.0, 1.0], [0.0, 0.0]], np.eye(2), 9.0 * np.eye(2))
    3.0
    """
    M, G, H = _wide(core, "core"), _wide(left_gram, "left_gram"), _wide(right_gram, "right_gram")
    if G.shape != (M.shape[0],) * 2 or H.shape != (M.shape[1],) * 2:
        raise InputError(
            f"a core {M.shape} goes with Gram matrices ({M.shape[0]}, {M.shape[0]}) and "
            f"({M.shape[1]}, {M.shape[1]}); got {G.shape} and {H.shape}."
        )
    return float(np.sqrt(max(np.sum(M * (G @ M @ H)), 0.0)))


def span_coefficients(
    pairs: Sequence[tuple[object, object]], wanted: tuple[object, object]
) -> tuple[np.ndarray, float]:
    """Express a product D C in other products B_k A_k by least squares, through the factors.

        c = argmin ‖D C − Σ_k c_k B_k A_k‖_F,   ⟨B A, D C⟩_F = Σ (Bᵗ D) ∘ (A Cᵗ)

    Args:
        pairs: (B_k, A_k), shapes (m, r_k) and (r_k, n); dependent products are allowed.
        wanted: (D, C).

    Returns:
        c, and the residual relative to ‖D C‖_F, in [0, 1]; (zeros, 0) for a product of zeros. A
        residual below about 1e-8 is rounding.

    Raises:
        InputError: no pairs, or unusable factors.

    >>> found, left = span_coefficients([(np.eye(2), np.eye(2))], (np.eye(2), 3.0 * np.eye(2)))
    >>> found.round(6).tolist(), left < 1e-7
    ([3.0], True)
    """
    if not pairs:
        raise InputError("span_coefficients needs one pair of factors or more; got none.")
    known = [(_wide(B, "left"), _wide(A, "right")) for B, A in pairs]
    D, C = _wide(wanted[0], "left"), _wide(wanted[1], "right")
    gram = np.array([[np.sum((B.T @ E) * (A @ F.T)) for E, F in known] for B, A in known])
    toward = np.array([np.sum((B.T @ D) * (A @ C.T)) for B, A in known])
    whole = float(np.sum((D.T @ D) * (C @ C.T)))
    if whole <= 0.0:
        return np.zeros(len(known)), 0.0
    found = np.linalg.lstsq(gram, toward, rcond=None)[0]
    left = whole - 2.0 * found @ toward + found @ gram @ found
    return found, float(np.sqrt(min(max(left / whole, 0.0), 1.0)))


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
    s = _spectrum(singular_values)
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
    X, Y = _wide(first, "first"), _wide(second, "second")
    if X.shape[0] != Y.shape[0]:
        raise InputError(f"both spaces must live in one space; got {X.shape} and {Y.shape}.")
    if not X.any() or not Y.any():
        raise InputError("a matrix of zeros spans no direction to measure an angle to.")
    spans = []
    for values, wide in ((first, X), (second, Y)):  # dependent up to the rounding of their dtype
        eps = float(np.finfo(prepare(values).dtype).eps)
        spans.append(independent(wide, eps * max(wide.shape))[0])
    return np.sort(linalg.subspace_angles(*spans))


def stable_rank(matrix: object) -> float:
    """Return ‖A‖²_F / ‖A‖₂², between 1 and the rank; 0 for a matrix of zeros (Rudelson 2007).

    The spectral norm is exact where min(m, n) ≤ 512, else that of 12 sketched directions.

    Raises:
        InputError: unusable matrix.

    >>> round(stable_rank(np.diag([2.0, 2.0, 1.0])), 6)
    2.25
    """
    operand = prepare(matrix)
    if operand.energy == 0.0:
        return 0.0
    largest = leading(operand, 2, power=4, seed=0).s[0]
    return float(operand.energy / float(largest) ** 2)


def spectral_norm(matrix: object, *, seed: int = 0) -> float:
    """Return ‖A‖₂: exact where min(m, n) ≤ 512, else from below by a block power iteration.

    Raises:
        InputError: negative seed, unusable matrix.

    >>> round(spectral_norm(np.diag([1.0, 3.0])), 6)
    3.0
    """
    check_natural("seed", seed)
    operand = prepare(matrix)
    if is_exact(operand, 1):
        return float(exact(operand).s[0])
    return power_iteration(operand.times, operand.transposed_times, operand, seed)


def intruders(
    before: object, after: object, *, leading_vectors: int = 10, threshold: float = 0.5
) -> np.ndarray:
    """Return which leading left singular vectors of ``after`` resemble none of ``before``.

    The j-th is an intruder dimension where max_i |⟨u_j(after), u_i(before)⟩| < threshold
    (Shuttleworth et al. 2024, arXiv:2410.21228). The absolute value makes signs irrelevant; within
    a group of equal singular values the vectors are arbitrary, so the count is too.

    Args:
        before: (m, n), the weight that training started from.
        after: (m, n), the weight that it led to.
        leading_vectors: how many of the largest singular vectors of ``after`` are looked at.
        threshold: ε, between 0 and 1; the paper looks at several.

    Returns:
        int64 positions j from 0, increasing.

    Raises:
        InputError: different shapes, an argument out of range, unusable matrices.
    """
    old, new = prepare(before, "before"), prepare(after, "after")
    if old.shape != new.shape:
        raise InputError(f"before and after must have one shape; got {old.shape}, {new.shape}.")
    if not 0.0 < threshold <= 1.0:
        raise InputError(f"the threshold is a cosine in (0, 1]; got {threshold}.")
    count = check_rank(leading_vectors, new.smaller, new.shape)
    looked_at = svd(new, count, method=converged(new, count), diagnose=False).U
    alignment = np.abs(exact(old).U.T @ looked_at).max(axis=0)
    return np.flatnonzero(alignment < threshold).astype(np.int64)


def _wide(matrix: object, name: str) -> np.ndarray:
    return prepare(matrix, name).dense().astype(np.float64, copy=False)


def _spectrum(singular_values: object) -> np.ndarray:
    values = np.asarray(singular_values)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all() or (values < 0).any():
        raise InputError(
            f"singular values are finite, non-negative and one-dimensional; got shape "
            f"{values.shape}. For a matrix, pass svd(matrix).s."
        )
    return values.astype(np.float64, copy=False)
