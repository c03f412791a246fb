"""Matrix product operators: a matrix as a chain of four-way cores, and how far one has moved.

    M[(i_1 … i_N), (j_1 … j_N)] = T_1[i_1, j_1] … T_N[i_N, j_N],   T_k (d_{k-1}, i_k, j_k, d_k)
    d_k = min(R, i_1 j_1 … i_k j_k, i_{k+1} j_{k+1} … i_N j_N),    d_0 = d_N = 1

The digits i_k of m fall and the digits j_k of n rise, so that the products i_k j_k are about equal,
also where a size has few divisors: of a prime m, i_1 = m and the other digits are 1.

The distance from a start T⁰ is one chain of twice the ranks,

    M(T⁰ + D) − M(T⁰) = [T_1 D_1] [[T_2, D_2], [0, T⁰_2]] … [D_N; T⁰_N],   T_k = T⁰_k + D_k

which subtracts nothing: without offsets every term is exactly zero, and a small one keeps its bits.

A chain is applied by forming the matrix, unless there are very few inputs. Measured on one CPU
thread, forward and backward at R = 8 (ranks 16), N = 3, through the cores against by the matrix:
768 × 768: 0.7 to 2.5 ms for 1 input, 27 to 5 ms for 64, 421 to 23 ms for 512; 4096 × 4096: 7 to
451 ms for 1, 288 to 599 ms for 64, 3.1 to 1.4 s for 512.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Site
from continual.errors import InputError
from continual.linalg import balanced_factors, matrix_train

SPLITS = ("right", "balanced")
FEW = 64  # below min(m, n) / FEW inputs the cores are cheaper than the matrix


def check_digits(name: str, value: object) -> None:
    """Raise ``InputError`` unless a size can be split into so many digits."""
    if isinstance(value, bool) or value not in (2, 3, 4):
        raise InputError(f"{name} must be 2, 3 or 4; got {value!r}.")


def digits(m: int, n: int, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the digits of m, falling, and of n, rising.

    >>> digits(768, 11008, 3)
    ((12, 8, 8), (16, 16, 43))
    """
    return balanced_factors(m, count), balanced_factors(n, count)[::-1]


def shapes(outputs: Sequence[int], inputs: Sequence[int], rank: int) -> list[tuple[int, ...]]:
    """Return the shapes (d_{k-1}, i_k, j_k, d_k) of cores of ranks up to ``rank``."""
    pairs = [i * j for i, j in zip(outputs, inputs, strict=True)]
    inner = [min(rank, math.prod(pairs[:k]), math.prod(pairs[k:])) for k in range(1, len(pairs))]
    ranks = [1, *inner, 1]
    return list(zip(ranks, outputs, inputs, ranks[1:], strict=False))


def numbers(m: int, n: int, rank: int, count: int) -> int:
    """Return Σ d_{k-1} i_k j_k d_k, the numbers in the cores of an (m, n) matrix.

    >>> numbers(4096, 4096, 8, 4), numbers(4096, 4096, 8, 3)
    (9216, 20480)
    """
    return sum(math.prod(shape) for shape in shapes(*digits(m, n, count), rank))


def dense(cores: Sequence[Tensor]) -> Float[Tensor, "m n"]:
    """Return the matrix of a chain, differentiable, by one product per core after the first."""
    left = cores[0]
    for core in cores[1:]:
        a, i, j, b = left.shape
        _, p, q, c = core.shape
        joined = (left.reshape(a * i * j, b) @ core.reshape(b, p * q * c)).reshape(a, i, j, p, q, c)
        left = joined.permute(0, 1, 3, 2, 4, 5).reshape(a, i * p, j * q, c)
    return left[0, :, :, 0]


def apply(cores: Sequence[Tensor], x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch m"]:
    """Return x Mᵗ of a chain, without forming M where that is cheaper."""
    m, n = (math.prod(core.shape[axis] for core in cores) for axis in (1, 2))
    rows = x.reshape(-1, n)
    if len(rows) * FEW > min(m, n):
        return linear(x, dense(cores))
    state = rows.reshape(len(rows), 1, 1, n)  # (rows, outputs so far, d_k, inputs to come)
    for core in cores:
        a, i, j, b = core.shape
        count, done, _, left = state.shape
        split = state.reshape(count, done, a, j, left // j).permute(0, 1, 4, 2, 3)
        turned = split.reshape(-1, a * j) @ core.transpose(1, 2).reshape(a * j, i * b)
        turned = turned.reshape(count, done, left // j, i, b).permute(0, 1, 3, 4, 2)
        state = turned.reshape(count, done * i, b, left // j)
    return state.reshape(*x.shape[:-1], m)


class Moved(nn.Module):
    """Cores that start at the truncated chain of a weight, written as start and trained offset."""

    def __init__(self, site: Site, rank: int, count: int, split: str) -> None:
        """Decompose the weight on the CPU; offsets are zero.

        Args:
            site: of the weight.
            rank: R.
            count: N.
            split: where the singular values of a cut go: "right", into the last core, or
                "balanced", √σ to either side.
        """
        super().__init__()
        m, n = site.weight.shape
        sizes = digits(m, n, count)
        train = matrix_train(site.weight, *sizes, rank)
        cores = train.cores if split == "right" else train.balanced()
        self.count, self.offsets = count, nn.ParameterList()
        for k, (core, shape) in enumerate(zip(cores, shapes(*sizes, rank), strict=True)):
            start = torch.tensor(core, dtype=torch.float32, device=site.weight.device)
            self.register_buffer(f"start_{k}", start.reshape(shape))
            self.offsets.append(nn.Parameter(torch.zeros(shape, device=site.weight.device)))

    def start(self) -> list[Tensor]:
        """T⁰."""
        return [self.get_buffer(f"start_{k}") for k in range(self.count)]

    def now(self) -> list[Tensor]:
        """T⁰ + D."""
        return [begun + D for begun, D in zip(self.start(), self.offsets, strict=True)]

    def change(self) -> list[Tensor]:
        """Return the chain of M(T⁰ + D) − M(T⁰), of ranks 2 d_k."""
        cores = []
        for k, (now, D, start) in enumerate(
            zip(self.now(), self.offsets, self.start(), strict=True)
        ):
            upper = torch.cat([now, D], dim=3) if k < self.count - 1 else D
            lower = torch.cat([torch.zeros_like(start), start], dim=3)
            lower = lower if k < self.count - 1 else start
            cores.append(torch.cat([upper, lower]) if k else upper)
        return cores
