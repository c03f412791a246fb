"""Interpolated modified Kneser-Ney over bytes: the figure that tiny-lm has to beat.

    p_0(w)   = 1 / 256
    p_k(w|h) = (c_k(hw) - D_k(c_k(hw))) / c_k(h·)  +  g_k(h) p_{k-1}(w|h')        k = 1 ... n
    g_k(h)   = Σ_w D_k(c_k(hw)) / c_k(h·)

h is the history of k - 1 symbols and h' the same without its first one; where h was never seen,
p_k = p_{k-1}. At the highest order c counts occurrences; below, c_k(hw) counts the different
symbols seen in front of hw. D_k(c) is 0 for c = 0 and one of three discounts for c = 1, 2 and more.
They are positive, so that each p_k is a distribution over the 256 bytes with no zeros.

A document begins after n - 1 start symbols, which are histories only and never predicted. k symbols
are one integer in base 257, so counting is sorting and looking up is bisection.

Reference: Chen & Goodman (1999), "An empirical study of smoothing techniques for language
modeling", Computer Speech and Language 13(4), section 3 (discounts: eq. 17 and the estimate of Y).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BYTES = 256
START = 256  # the symbol in front of a document
BASE = 257  # bytes and START
LONGEST = 7  # symbols that fit into an int64: 257**7 < 2**63
FALLBACK = (0.5, 1.0, 1.5)  # discounts where the counts of counts do not determine them


@dataclass(frozen=True, kw_only=True)
class Order:
    """The counts of one k, keys ascending.

    Attributes:
        keys: of every seen hw.
        left: its discounted count, c(hw) - D(c(hw)).
        histories: of every seen h.
        totals: c(h·).
        weights: g(h).
    """

    keys: np.ndarray
    left: np.ndarray
    histories: np.ndarray
    totals: np.ndarray
    weights: np.ndarray


def train(documents: Sequence[bytes], order: int = 5) -> tuple[Order, ...]:
    """Count the documents.

    Args:
        documents: the training text; histories do not cross from one into the next.
        order: n, symbols per n-gram, the predicted byte included; 1 to 7.

    Returns:
        The orders 1 ... n.

    Raises:
        ValueError: If `order` is out of range or there is no byte to count.
    """
    if not 1 <= order <= LONGEST:
        raise ValueError(f"order must be between 1 and {LONGEST}; got {order}.")
    if not any(documents):
        raise ValueError("train needs at least one byte; every document given is empty.")
    keys, counts = np.unique(
        np.concatenate([_keys(document, order, order) for document in documents]),
        return_counts=True,
    )
    orders = [_order(keys, counts)]
    for k in range(order - 1, 0, -1):
        keys, counts = np.unique(keys % BASE**k, return_counts=True)
        orders.append(_order(keys, counts))
    return tuple(reversed(orders))


def probabilities(model: Sequence[Order], document: bytes) -> np.ndarray:
    """Return p_n of every byte of a document after all that precede it, shape (len(document),)."""
    n = len(model)
    return _interpolate(model, [_keys(document, k, n) for k in range(1, n + 1)])


def distribution(model: Sequence[Order], history: bytes) -> np.ndarray:
    """Return p_n of each of the 256 bytes after `history`, the beginning of a document."""
    n = len(model)
    symbols = np.concatenate([np.full(n - 1, START), np.frombuffer(history, np.uint8)])
    followed = []
    for k in range(1, n + 1):
        recent = symbols[len(symbols) - k + 1 :]
        followed.append(_pack(np.append(recent, 0)[None])[0] + np.arange(BYTES))
    return _interpolate(model, followed)


def bits(model: Sequence[Order], documents: Sequence[bytes]) -> float:
    """Return -log2 of the probability of the documents, summed over all of their bytes."""
    return float(sum(-np.log2(probabilities(model, text)).sum() for text in documents))


def discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """Return D for counts of 1, 2 and more, estimated from the counts of counts."""
    n1, n2, n3, n4 = (int((counts == c).sum()) for c in (1, 2, 3, 4))
    if min(n1, n2, n3) == 0:
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if min(found) > 0 else FALLBACK


def _order(keys: np.ndarray, counts: np.ndarray) -> Order:
    """Discount the counts of one k and sum them by history; the keys are ascending."""
    removed = np.array((0.0, *discounts(counts)))[np.minimum(counts, 3)]
    histories, first = np.unique(keys // BASE, return_index=True)
    totals = np.add.reduceat(counts, first)
    return Order(
        keys=keys,
        left=counts - removed,
        histories=histories,
        totals=totals,
        weights=np.add.reduceat(removed, first) / totals,
    )


def _interpolate(model: Sequence[Order], keys: Sequence[np.ndarray]) -> np.ndarray:
    """Return p_n where `keys[k - 1]` holds the same places' k-grams."""
    p = np.full(len(keys[0]), 1 / BYTES)
    for order, wanted in zip(model, keys, strict=True):
        at, seen = _find(order.histories, wanted // BASE)
        place, counted = _find(order.keys, wanted)
        left = np.where(counted, order.left[place], 0.0)
        p = np.where(seen, left / order.totals[at] + order.weights[at] * p, p)
    return p


def _find(ascending: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the place of each wanted key and whether it is really there."""
    at = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return at, ascending[at] == wanted


def _keys(document: bytes, k: int, n: int) -> np.ndarray:
    """Return the k-gram that ends at each byte of a document behind n - 1 start symbols."""
    symbols = np.concatenate([np.full(n - 1, START), np.frombuffer(document, np.uint8)])
    if not document:
        return np.empty(0, dtype=np.int64)
    return _pack(np.lib.stride_tricks.sliding_window_view(symbols[n - k :], k))


def _pack(windows: np.ndarray) -> np.ndarray:
    """Return each row of symbols as one integer in base 257, first symbol most significant."""
    keys = np.zeros(len(windows), dtype=np.int64)
    for column in range(windows.shape[1]):
        keys = keys * BASE + windows[:, column]
    return keys
