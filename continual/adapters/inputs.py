"""What the inputs of a weight are made of: their leading directions, from rows seen in batches.

    X ≈ U diag(σ) V        rows of X are inputs; σ_i² / ‖X‖²_F is the share of direction i

Incremental: the best rank-k form of what was seen, σ V, stands for it when the next rows come, and
is decomposed again together with them. It is exact while all rows have at most k directions.
Inputs are not centred, as ΔW x is not. Shares of several weights are ranked together by ``Shares``.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from continual.linalg import svd

ROWS = 256  # decomposed at a time
LEAST = 1e-6  # of the largest σ, below which a direction is rounding


class Directions:
    """At most k directions of the rows seen so far, with what they hold."""

    def __init__(self, k: int, n: int) -> None:
        """Nothing is seen yet."""
        self.k, self.count, self.energy = k, 0, 0.0
        self.rows = np.zeros((0, n), dtype=np.float32)  # σ V

    def see(self, x: Float[Tensor, "*batch n"]) -> None:
        """Take some more rows in."""
        rows = x.detach().reshape(-1, x.shape[-1]).to("cpu", torch.float32).numpy()
        self.count += len(rows)
        self.energy += float(np.square(rows, dtype=np.float64).sum())
        for begin in range(0, len(rows), ROWS):
            both = np.concatenate([self.rows, rows[begin : begin + ROWS]])
            found = svd(both, min(self.k, *both.shape), diagnose=False)
            kept = found.s > LEAST * max(found.s[0], np.finfo(np.float32).tiny)
            self.rows = (found.s[:, None] * found.Vt)[kept]

    def leading(self, count: int) -> Float[Tensor, "k n"]:
        """Return up to ``count`` orthonormal directions, the strongest first."""
        rows = self.rows[:count]
        return torch.tensor(rows / np.linalg.norm(rows, axis=1, keepdims=True))

    def shares(self, count: int) -> list[float]:
        """Return what part of ‖X‖²_F each of the leading directions holds."""
        strengths = np.square(self.rows[:count], dtype=np.float64).sum(axis=1)
        return (strengths / max(self.energy, np.finfo(np.float64).tiny)).tolist()


class Shares(nn.Module):
    """How the ranks of a model are divided among its weights, by what their directions hold."""

    def __init__(self) -> None:
        """Begin without weights."""
        super().__init__()
        self.told: dict[str, list[float]] = {}
        self.ranks: dict[str, int] = {}

    def tell(self, name: str, shares: list[float]) -> None:
        """Say what the directions of a weight hold so far; as many as it can use."""
        self.told[name] = shares

    def rank(self, name: str, average: int) -> int:
        """Return the rank of a weight: one for each, the others by the largest shares.

        The first who asks ends the telling; ``average`` times the number of weights is divided.
        """
        if self.told:
            self.ranks = dict.fromkeys(self.told, 1)
            others = [(-s, i, own) for own, all_ in self.told.items() for i, s in enumerate(all_)]
            others = sorted(one for one in others if one[1] > 0)
            for _, _, own in others[: (average - 1) * len(self.told)]:
                self.ranks[own] += 1
            self.told = {}
        return self.ranks[name]
