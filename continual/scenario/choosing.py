"""Which rows are used, chosen by the hash of their content and so in any order of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Shaped, UInt64

from continual.errors import InputError

Share = tuple[float, float]


def smallest(
    keys: Shaped[np.ndarray, " rows"], count: int, *, together: bool = False
) -> Int[np.ndarray, " chosen"]:
    """Return the rows of the `count` smallest keys, in row order.

    Args:
        keys: (rows,) any order.
        count: how many; all where there are fewer.
        together: take every row whose key equals the last one taken.
    """
    if count >= len(keys):
        return np.arange(len(keys))
    order = np.argsort(keys, kind="stable")[:count]
    if together and count:
        return np.flatnonzero(keys <= keys[order[-1]])
    return np.sort(order)


def salted_again(hashes: UInt64[np.ndarray, " rows"], salt: bytes) -> UInt64[np.ndarray, " rows"]:
    """Hash hashes once more, so that choices with different salts do not depend on each other."""
    values = [
        int.from_bytes(hashlib.blake2b(h.tobytes(), digest_size=8, salt=salt).digest(), "big")
        for h in hashes.astype(">u8")
    ]
    return np.array(values, dtype=np.uint64)


def inside(
    hashes: UInt64[np.ndarray, " rows"], share: Share, groups: Int[np.ndarray, " rows"] | None
) -> Int[np.ndarray, " chosen"]:
    """Return the rows that lie in a share of every group.

    The distinct inputs of a group are put in the order of their salted hash; the k-th of n lies at
    (k + 1/2) / n, and in the share where low <= that < high. Equal inputs stay together, shares
    that do not overlap have no row in common, and a class of three is cut 2 to 1 by 0.8.

    Args:
        hashes: of the inputs.
        share: (low, high).
        groups: the class of every row; None takes all rows as one group.
    """
    low, high = share
    salted = salted_again(hashes, b"share")
    groups = np.zeros(len(hashes), dtype=np.int64) if groups is None else groups
    chosen = np.zeros(len(hashes), dtype=bool)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        distinct, place = np.unique(salted[rows], return_inverse=True)
        at = (place + 0.5) / len(distinct)
        chosen[rows] = (at >= low) & (at < high)
    return np.flatnonzero(chosen)


def check_share(share: Sequence[float] | None) -> None:
    """Refuse what is not two rising numbers in [0, 1].

    Raises:
        InputError: it is something else.
    """
    if share is not None and not (len(share) == 2 and 0 <= share[0] < share[1] <= 1):
        raise InputError(
            f"share must be two rising numbers from 0 to 1, such as [0, 0.8]; got {list(share)}."
        )


def share_text(share: Share | None) -> str:
    """Return how an error message names a share."""
    return "" if share is None else f", share {share[0]:g} to {share[1]:g}"
