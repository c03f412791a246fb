"""The frozen unit directions of S-LoRA: one pair of factors per finished task, ranks remembered."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from continual.adapters.base import Site
from continual.adapters.stack import FrozenStack
from continual.linalg import span_coefficients

Factors = tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]


class Directions(nn.Module):
    """D_1 … D_t side by side; each is scaled by its own magnitude when it is used."""

    ranks: Tensor

    def __init__(self, site: Site) -> None:
        """Begin without a direction."""
        super().__init__()
        self.stack = FrozenStack(site)
        self.register_buffer("ranks", torch.zeros(0, dtype=torch.int64, device=site.weight.device))

    def append(self, B: Float[Tensor, "m r"], A: Float[Tensor, "r n"]) -> None:
        """Freeze one more."""
        self.stack.append(B, A)
        self.ranks = torch.cat([self.ranks, self.ranks.new_tensor([A.shape[0]])])

    def forward(
        self, x: Float[Tensor, "*batch n"], magnitudes: Float[Tensor, " t"]
    ) -> Float[Tensor, "*batch m"]:
        """Return x (Σ α_k D_k)ᵗ."""
        return self.stack(x, self._spread(magnitudes))

    def scaled(self, magnitudes: Float[Tensor, " t"]) -> Factors:
        """Return Σ α_k D_k as factors, differentiable by the magnitudes."""
        return self.stack.B * self._spread(magnitudes), self.stack.A

    def coefficients(
        self, B: Float[Tensor, "m r"], A: Float[Tensor, "r n"]
    ) -> tuple[Tensor, float]:
        """Return the c that make Σ c_k D_k nearest to B A, and what is left over relative to it.

        With no direction there is everything left: 1.
        """
        if len(self.ranks) == 0:
            return B.new_zeros(0), 1.0
        ranks = self.ranks.tolist()
        old = zip(self.stack.B.split(ranks, dim=1), self.stack.A.split(ranks), strict=True)
        found, left = span_coefficients(list(old), (B, A))
        return torch.from_numpy(found).to(B), left

    def fit(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        """Take the size of saved directions, so that they can be copied in."""
        self.stack.fit(tensors, f"{prefix}stack.")
        self.ranks = self.ranks.new_zeros(tensors[f"{prefix}ranks"].shape)

    def _spread(self, magnitudes: Float[Tensor, " t"]) -> Float[Tensor, " R"]:
        """Repeat every magnitude for the inner rows of its direction."""
        return magnitudes.repeat_interleave(self.ranks, output_size=self.stack.rank)
