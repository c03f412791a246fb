"""Tensor trains: a tensor as a chain of three-way cores; a matrix with its digits paired.

    X[i_1 ... i_d] = G_1[i_1] G_2[i_2] ... G_d[i_d],   G_k (r_{k-1}, n_k, r_k),  r_0 = r_d = 1
    matrix: W[(i_1 ... i_d), (j_1 ... j_d)], each n_k = i_k j_k       (a matrix product operator)

TT-SVD (Oseledets 2011, algorithm 1) truncates the d − 1 unfoldings from left to right. Its
residuals are orthogonal, so ‖X − X̂‖²_F is the sum of their squares, exactly, and at most d − 1
times the best possible at these ranks. DoTA (arXiv:2412.20891) starts from the matrix form.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from continual.errors import InputError
from continual.linalg.operand import owned, prepare
from continual.linalg.ranges import wanted


@dataclass(frozen=True, kw_only=True, eq=False)
class TensorTrain:
    """Cores of a chain; all but the last are left-orthonormal, the last holds the scale.

    Attributes:
        cores: (r_{k-1}, n_k, r_k) each.
        ranks: (r_1, ..., r_{d-1}).
        singular: the kept singular values of every cut, falling; r_k of them at cut k.
        error_fro: ‖X − X̂‖_F, exact.
        method: tt-svd.
        seconds: that it took.
    """

    cores: tuple[np.ndarray, ...]
    ranks: tuple[int, ...]
    singular: tuple[np.ndarray, ...]
    error_fro: float
    method: str
    seconds: float

    def dense(self) -> np.ndarray:
        """Return the tensor (n_1, ..., n_d)."""
        left = self.cores[0]
        for core in self.cores[1:]:
            left = np.tensordot(left, core, axes=1)
        return left.reshape(left.shape[1:-1])

    def balanced(self) -> tuple[np.ndarray, ...]:
        """Return cores of the same tensor with √σ of every cut's singular values on either side.

        The part of the chain left of a cut then has the Gram matrix diag(σ), and without truncation
        so has the part right of it. σ below 1e-6 of the cut's largest counts as that.
        """
        roots = [np.ones(1)]
        for sigma in self.singular:
            floored = np.maximum(sigma, 1e-6 * sigma[0])
            roots.append(np.sqrt(np.where(floored > 0.0, floored, 1.0)))
        roots.append(np.ones(1))
        scaled = (
            core / left[:, None, None] * right
            for core, left, right in zip(self.cores, roots, roots[1:], strict=False)
        )
        return tuple(new.astype(self.cores[0].dtype) for new in scaled)

    def matrix(self, outputs: Sequence[int], inputs: Sequence[int]) -> np.ndarray:
        """Return the (m, n) matrix of a chain made by ``matrix_train`` with these digits."""
        d = len(outputs)
        pairs = [size for pair in zip(outputs, inputs, strict=True) for size in pair]
        order = [*range(0, 2 * d, 2), *range(1, 2 * d, 2)]
        shape = (math.prod(outputs), math.prod(inputs))
        return self.dense().reshape(pairs).transpose(order).reshape(shape)


def tensor_train(
    tensor: np.ndarray,
    rank: int | None = None,
    *,
    tolerance: float | None = None,
    energy: float | None = None,
) -> TensorTrain:
    """Return the tensor train of an array of at least two dimensions, float32 or float64.

    Args:
        tensor: (n_1, ..., n_d).
        rank: no r_k above it; by default none is cut.
        tolerance: instead: ‖X − X̂‖_F ≤ tolerance · ‖X‖_F, spread evenly over the d − 1 cuts.
        energy: instead: the same with tolerance √(1 − energy).

    Raises:
        InputError: an argument out of range, or a tensor that is empty or not finite.
    """
    began = time.perf_counter()
    sizes = tensor.shape
    if len(sizes) < 2 or 0 in sizes:
        raise InputError(f"a tensor train needs two dimensions or more, none empty; got {sizes}.")
    need = wanted(max(tensor.size, rank or 1), sizes, rank, tolerance, energy)
    rank, tolerance = (None, need.tolerance) if need.tolerance is not None else (need.rank, None)
    rest = prepare(tensor.reshape(sizes[0], -1), "tensor").dense()
    total = float(np.square(rest, dtype=np.float64).sum())
    allowed = 0.0 if tolerance is None else tolerance**2 * total / (len(sizes) - 1)
    cores: list[np.ndarray] = []
    ranks: list[int] = [1]
    singular: list[np.ndarray] = []
    squared = 0.0
    for size in sizes[:-1]:
        rest = rest.reshape(ranks[-1] * size, -1)
        U, s, Vt = linalg.svd(rest, full_matrices=False, check_finite=False)
        left = np.append(np.cumsum(np.square(s, dtype=np.float64)[:0:-1])[::-1], 0.0)
        kept = min(rank or len(s), len(s))
        if tolerance is not None:
            kept = int(np.argmax(left <= allowed)) + 1
        squared += float(left[kept - 1])
        cores.append(U[:, :kept].reshape(ranks[-1], size, kept))
        rest = s[:kept, None] * Vt[:kept]
        ranks.append(kept)
        singular.append(s[:kept])
    cores.append(rest.reshape(ranks[-1], sizes[-1], 1))
    return TensorTrain(
        cores=tuple(owned(core) for core in cores),
        ranks=tuple(ranks[1:]),
        singular=tuple(owned(sigma) for sigma in singular),
        error_fro=math.sqrt(squared),
        method="tt-svd",
        seconds=time.perf_counter() - began,
    )


def matrix_train(
    matrix: object,
    outputs: Sequence[int],
    inputs: Sequence[int],
    rank: int | None = None,
    *,
    tolerance: float | None = None,
    energy: float | None = None,
) -> TensorTrain:
    """Return the tensor train of an (m, n) matrix over pairs of row and column digits.

    Args:
        matrix: (m, n), whatever ``prepare`` takes.
        outputs: (i_1, ..., i_d) with product m.
        inputs: (j_1, ..., j_d) with product n.
        rank: see ``tensor_train``.
        tolerance: see ``tensor_train``.
        energy: see ``tensor_train``.

    Raises:
        InputError: digits that do not multiply to the shape or differ in number; an argument of
            ``tensor_train`` out of range; unusable matrix.
    """
    operand = prepare(matrix)
    if len(outputs) != len(inputs) or len(outputs) < 2:
        raise InputError(
            f"outputs and inputs are two or more digits each, in pairs; got {list(outputs)} and "
            f"{list(inputs)}."
        )
    if (math.prod(outputs), math.prod(inputs)) != operand.shape:
        raise InputError(
            f"outputs {list(outputs)} and inputs {list(inputs)} must multiply to the shape "
            f"{operand.shape}; they give ({math.prod(outputs)}, {math.prod(inputs)}). "
            "balanced_factors finds some that do."
        )
    d = len(outputs)
    order = [axis for k in range(d) for axis in (k, d + k)]
    digits = operand.dense().reshape(*outputs, *inputs).transpose(order)
    pairs = [i * j for i, j in zip(outputs, inputs, strict=True)]
    return tensor_train(
        np.ascontiguousarray(digits).reshape(pairs), rank, tolerance=tolerance, energy=energy
    )


def balanced_factors(size: int, count: int) -> tuple[int, ...]:
    """Return ``count`` factors of ``size`` that are as equal as its primes allow, falling.

    >>> balanced_factors(4096, 3), balanced_factors(11008, 3)
    ((16, 16, 16), (43, 16, 16))

    Raises:
        InputError: size or count below 1.
    """
    if size < 1 or count < 1:
        raise InputError(f"size and count must be at least 1; got {size} and {count}.")
    primes: list[int] = []
    left, prime = size, 2
    while prime * prime <= left:
        while left % prime == 0:
            primes.append(prime)
            left //= prime
        prime += 1
    primes += [left] if left > 1 else []
    factors = [1] * count
    for prime in reversed(primes):
        factors[factors.index(min(factors))] *= prime
    return tuple(sorted(factors, reverse=True))
