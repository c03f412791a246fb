"""Random numbers that are pure functions of (seed, purpose, size), from a stream numpy keeps."""

import hashlib
from functools import cache

import numpy as np
from scipy import special


def stream(seed: int, purpose: str) -> int:
    """Return the seed of one purpose, so that draws for different ones are independent."""
    digest = hashlib.blake2b(f"{seed}|{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def uniform(seed: int, count: int) -> np.ndarray:
    """Return ``count`` numbers in (0, 1) from PCG64's raw stream."""
    raw = np.random.PCG64(seed).random_raw(count)
    values = (raw >> np.uint64(11)).astype(np.float64)
    values += 0.5
    values *= 2.0**-53
    return np.minimum(values, 1.0 - 2.0**-53, out=values)


def gaussian(seed: int, purpose: str, rows: int, columns: int, dtype: np.dtype) -> np.ndarray:
    """Return independent normal numbers (rows, columns), a pure function of the rest.

    Each is one of 65,536 equally likely quantiles of the normal distribution, scaled to variance 1:
    16 bits of the raw stream and a look into a table.
    """
    count = rows * columns
    raw = np.random.PCG64(stream(seed, purpose)).random_raw(-(-count // 4))
    bits = raw.astype("<u8", copy=False).view("<u2")[:count]
    return _quantiles(dtype)[bits].reshape(rows, columns)


@cache
def _quantiles(dtype: np.dtype) -> np.ndarray:
    values = special.ndtri((np.arange(2.0**16) + 0.5) / 2.0**16)
    return (values / np.sqrt(np.square(values).mean())).astype(dtype)
