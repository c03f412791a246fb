"""Choose rows or columns of a matrix: the weakest, the strongest, or those that span the rest.

Choosing says nothing about factorising: CURLoRA wants the weakest columns, an approximation the
best ones. With p_j the share of ‖A‖²_F in column j and v_j the j-th row of the k leading right
singular vectors (for rows: left ones):

    inverse_norm            weights 1 / max(p_j, 1e-6 / n)      Fawi (2024), arXiv:2408.14572
    inverse_norm_published  weights 1 / (p_j + 0.001), drawn with repeats as that paper's code does
    norm                    weights max(p_j, 1e-6 / n)          Drineas, Kannan and Mahoney (2006)
    uniform                 equal weights
    min_norm                the k of least energy (ties by position); takes no chance
    leverage                weights ‖v_j‖²                      Mahoney and Drineas (2009)
    leverage_top            the k largest ‖v_j‖²
    deim, qdeim, maxvol     pivots of v, see ``pivots``
    sketch_lupp             pivots of a sketch of k + p rows; the default for approximation
    sketch_qrcp             the same with the costlier pivoting
    qrcp                    the first k pivots of QR with column pivoting of A itself

Draws are without replacement by Gumbel top-k: keep the k largest of log w_j + g_j (Efraimidis and
Spirakis 2006; Kool et al. 2019), from the raw stream of PCG64, which numpy promises not to change.
Only ``inverse_norm_published`` repeats indices. Where pivots or singular values fall to rounding
before k are found, the strongest columns left fill up the choice. Equal pivots are told apart by
rounding alone: there, two machines may choose differently.
"""

import numpy as np

from continual.errors import InputError, unknown
from continual.linalg import pivots
from continual.linalg.draws import stream, uniform
from continual.linalg.operand import Operand, prepare
from continual.linalg.ranges import (
    OVERSAMPLE,
    check_natural,
    check_rank,
    leading,
    row_sketch,
    sketch,
)

WEIGHTED = ("inverse_norm", "norm", "uniform")
SPANNING = ("leverage", "leverage_top", "deim", "qdeim", "maxvol")
SKETCHED = ("sketch_lupp", "sketch_qrcp")
POLICIES: tuple[str, ...] = (
    *WEIGHTED,
    "inverse_norm_published",
    "min_norm",
    *SPANNING,
    *SKETCHED,
    "qrcp",
)
PIVOTING = {
    "deim": pivots.lupp,
    "qdeim": pivots.qrcp,
    "maxvol": pivots.maxvol,
    "sketch_lupp": pivots.lupp,
    "sketch_qrcp": pivots.qrcp,
}
FLOOR = 1e-6  # of the mean share: keeps 1/p finite on empty rows and columns
PUBLISHED_FLOOR = 0.001  # added to every share by the published code
POWER = 1  # power iterations behind singular vectors; a sketch that is only pivoted needs none


def select(
    matrix: object, k: int, *, axis: int, policy: str = "inverse_norm", seed: int = 0
) -> np.ndarray:
    """Return k distinct indices of rows (axis 0) or columns (axis 1), sorted.

    Args:
        matrix: (m, n), whatever ``prepare`` takes.
        k: how many; at most m for rows and n for columns.
        axis: 0 chooses rows, 1 chooses columns.
        policy: one of ``POLICIES``; ``inverse_norm_published`` alone may repeat an index.
        seed: of draws and sketches, at least 0. Policies that take no chance ignore it.

    Returns:
        int64 indices (k,), increasing.

    Raises:
        InputError: unknown policy or axis, k out of range, negative seed, unusable matrix.

    >>> select(np.diag([1.0, 3.0, 2.0]), 2, axis=1, policy="min_norm")
    array([0, 2])
    """
    return np.sort(ranked(matrix, k, axis=axis, policy=policy, seed=seed))


def ranked(
    matrix: object, k: int, *, axis: int, policy: str = "sketch_lupp", seed: int = 0
) -> np.ndarray:
    """Return the choice of ``select`` in the order in which it was made, the first choice first.

    Raises:
        InputError: as ``select``.

    >>> ranked(np.diag([1.0, 3.0, 2.0]), 2, axis=0, policy="qrcp")
    array([1, 2])
    """
    if policy not in POLICIES:
        raise unknown("selection policy", policy, POLICIES)
    if axis not in (0, 1):
        raise InputError(f"axis must be 0 (rows) or 1 (columns); got {axis!r}.")
    check_natural("seed", seed)
    operand = prepare(matrix)
    k = check_rank(k, operand.shape[axis], operand.shape)
    chosen = _ranked(operand, k, axis, policy, seed)[:k].astype(np.int64)
    return chosen if len(chosen) == k else filled(chosen, operand.energies(axis), k)


def published(
    matrix: object, columns: int, rows: int, *, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row indices as the code of arXiv:2408.14572 draws them, in its order.

    From one legacy generator, first columns and then rows, with weights 1 / (p + 0.001) and with
    replacement: an index may come several times.

    Raises:
        InputError: a count out of range, negative seed, unusable matrix.
    """
    operand = prepare(matrix)
    legacy = np.random.RandomState(check_natural("seed", seed) % 2**32)
    drawn = [
        _published_draw(
            operand.energies(axis), check_rank(k, operand.shape[axis], operand.shape), legacy
        )
        for axis, k in ((1, columns), (0, rows))
    ]
    return drawn[0].astype(np.int64), drawn[1].astype(np.int64)


def energies(matrix: object, axis: int) -> np.ndarray:
    """Return the squared norm of every row (axis 0) or column (axis 1) of an (m, n) matrix."""
    return prepare(matrix).energies(axis)


def _ranked(operand: Operand, k: int, axis: int, policy: str, seed: int) -> np.ndarray:
    if policy in SKETCHED:
        size = k + OVERSAMPLE
        S = sketch(operand, size, 0, seed) if axis == 1 else row_sketch(operand, size, seed)
        return PIVOTING[policy](S.T)
    if policy == "qrcp":
        return pivots.qrcp(operand.dense().T if axis == 1 else operand.dense())
    if policy in SPANNING:
        return _spanning(operand, k, axis, policy, seed)
    energy = operand.energies(axis)
    if policy == "min_norm":
        return np.argsort(energy, kind="stable")
    if policy == "inverse_norm_published":
        return _published_draw(energy, k, np.random.RandomState(seed % 2**32))
    return _draw(_log_weights(energy, policy), seed)


def _spanning(operand: Operand, k: int, axis: int, policy: str, seed: int) -> np.ndarray:
    found = leading(operand, k, power=POWER, seed=seed)
    rounding = float(np.finfo(operand.dtype).eps) * max(operand.shape) * found.s[0]
    k = min(k, max(1, int((found.s > rounding).sum())))
    vectors = np.ascontiguousarray(found.Vt[:k].T if axis == 1 else found.U[:, :k])
    if policy in PIVOTING:
        return PIVOTING[policy](vectors)
    scores = np.square(vectors, dtype=np.float64).sum(axis=1)
    if policy == "leverage_top":
        return np.argsort(-scores, kind="stable")
    return _draw(_log_weights(scores, "norm"), stream(seed, f"leverage {axis}"))


def _log_weights(energy: np.ndarray, policy: str) -> np.ndarray:
    largest = energy.max()
    if policy == "uniform" or largest == 0.0:
        return np.zeros_like(energy)
    scaled = energy / largest  # so that no sum overflows
    share = np.maximum(scaled / scaled.sum(), FLOOR / energy.size)
    return -np.log(share) if policy == "inverse_norm" else np.log(share)


def _draw(log_weights: np.ndarray, seed: int) -> np.ndarray:
    keys = log_weights - np.log(-np.log(uniform(seed, log_weights.size)))
    return np.argsort(-keys, kind="stable")


def _published_draw(energy: np.ndarray, k: int, legacy: np.random.RandomState) -> np.ndarray:
    """Draw with replacement from numpy's legacy generator, which is what the paper's code calls."""
    total = energy.sum()
    share = energy / total if total > 0.0 else np.full_like(energy, 1.0 / energy.size)
    weight = (1.0 / (share + PUBLISHED_FLOOR)).astype(np.float32)
    probability = (weight / weight.sum()).astype(np.float64)
    return legacy.choice(energy.size, size=k, p=probability / probability.sum())


def filled(chosen: np.ndarray, energy: np.ndarray, k: int) -> np.ndarray:
    """Return the choice with the strongest of what is left behind it."""
    order = np.argsort(-energy, kind="stable")
    left = order[~np.isin(order, chosen)]
    return np.concatenate([chosen, left[: k - len(chosen)]])
