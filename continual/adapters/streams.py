"""Random matrices that all adapted weights share, drawn again instead of saved.

    A (r, k) and B_1 … B_N (l, r), entries independent from U(−√3, √3), so of variance 1

Every matrix is the beginning of an endless stream of its own: of A column by column, of B_i row by
row. A weight of any size takes what it needs, and what it gets depends on the seed alone, neither
on other weights nor on the order of visits. The streams are PCG64's, which numpy never changes.
"""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from continual.adapters.base import seed_of
from continual.adapters.state import hash_tensors
from continual.linalg.draws import uniform


class Bases(nn.Module):
    """As much of the streams as the largest weight has asked for; none of it is in a state."""

    A: Tensor
    B: Tensor

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        """Begin with nothing drawn."""
        super().__init__()
        self.rank, self.seed = rank, seed
        self._digests: dict[tuple[int, int, int], bytes] = {}
        self.register_buffer("A", torch.zeros(rank, 0, device=device), persistent=False)
        self.register_buffer("B", torch.zeros(0, 0, device=device), persistent=False)

    def reseed(self, seed: int) -> None:
        """Draw from the streams of another seed, if it is another one."""
        if seed != self.seed:
            self.seed, self._digests = seed, {}
            self.A, self.B = self.A[:, :0], self.B[:0, :0]

    def take(
        self, short: int, long: int, count: int
    ) -> tuple[Float[Tensor, "r k"], Float[Tensor, "l d"]]:
        """Return A (r, short) and [B_1 … B_N] (long, N r) for N = ``count``."""
        if short > self.A.shape[1]:
            self.A = self._draw("A", short).T.contiguous()
        columns = count * self.rank
        if long > self.B.shape[0] or columns > self.B.shape[1]:
            rows, count = max(long, self.B.shape[0]), max(columns, self.B.shape[1]) // self.rank
            self.B = torch.cat([self._draw(f"B{i}", rows) for i in range(count)], dim=1)
        return self.A[:, :short], self.B[:long, :columns]

    def digest(self, short: int, long: int, count: int) -> UInt8[Tensor, " 16"]:
        """Return a hash of what ``take`` gives, computed once per size."""
        size = (short, long, count)
        if size not in self._digests:
            A, B = self.take(*size)
            self._digests[size] = bytes.fromhex(hash_tensors({"A": A, "B": B}))
        return torch.frombuffer(bytearray(self._digests[size]), dtype=torch.uint8)

    def _draw(self, name: str, length: int) -> Float[Tensor, "length r"]:
        """Return the first rows of one stream."""
        drawn = uniform(seed_of(self.seed, "bases", name), length * self.rank)
        scaled = (np.sqrt(3.0) * (2.0 * drawn - 1.0)).astype(np.float32)
        return torch.from_numpy(scaled.reshape(length, self.rank)).to(self.A.device)
