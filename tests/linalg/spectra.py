"""Matrices with spectra that decompositions find easy, hard or awkward."""

import numpy as np
from hypothesis import strategies as st

DECAYS = {
    "flat": lambda i: np.ones_like(i),
    "slow": lambda i: i**-0.5,
    "harmonic": lambda i: i**-1.0,
    "exponential": lambda i: 0.7**i,
    "one cliff": lambda i: np.where(i <= 3, 1.0, 1e-9),
    "rank two": lambda i: np.where(i <= 2, 1.0, 0.0),
}
KINDS = (*DECAYS, "sparse", "repeated columns", "empty rows", "triangle of Kahan", "graded rows")


def with_spectrum(m: int, n: int, values: np.ndarray, seed: int) -> np.ndarray:
    """A random (m, n) matrix with these singular values."""
    rng = np.random.default_rng(seed)
    k = min(m, n)
    left = np.linalg.qr(rng.normal(size=(m, k)))[0]
    right = np.linalg.qr(rng.normal(size=(n, k)))[0]
    return (left * values[:k]) @ right.T


def matrix_of(kind: str, m: int, n: int, seed: int) -> np.ndarray:
    """A float64 matrix (m, n) of a kind."""
    rng = np.random.default_rng(seed)
    if kind in DECAYS:
        return with_spectrum(m, n, DECAYS[kind](np.arange(1.0, min(m, n) + 1)), seed)
    if kind == "triangle of Kahan":  # the case on which column pivoting is misled
        angle = 1.2
        rows = np.arange(m)[:, None]
        triangle = np.where(np.arange(n) > rows, -np.cos(angle), 0.0) + np.eye(m, n)
        return np.sin(angle) ** rows * triangle
    matrix = rng.normal(size=(m, n))
    if kind == "sparse":
        matrix[rng.random(size=(m, n)) < 0.8] = 0.0
    elif kind == "repeated columns":
        matrix[:, n // 2 :] = matrix[:, : n - n // 2]
    elif kind == "empty rows":
        matrix[:: 2 if m > 1 else m + 1] = 0.0
    else:
        matrix *= np.logspace(0, -8, m)[:, None]
    return matrix


@st.composite
def matrices(
    draw: st.DrawFn, largest: int = 24, dtypes: tuple[type, ...] = (np.float64,)
) -> np.ndarray:
    """Any of these kinds, shapes from 1 × 1, scales from 1e-10 to 1e15."""
    m, n = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    scale = 10.0 ** draw(st.integers(-10, 15))
    matrix = matrix_of(draw(st.sampled_from(KINDS)), m, n, draw(st.integers(0, 2**32 - 1)))
    return (scale * matrix).astype(draw(st.sampled_from(dtypes)))
