"""A trained length for every row of a changed weight, what DoRA and EDoRA have in common.

    W' = diag(g) (W + B A),   g_i = (‖W_i‖ + δ_i) / ‖(W + B A)_i‖        δ (m,) from zero
    x W'ᵗ + b = y + (g − 1) ⊙ (y − b) + g ⊙ (x Aᵗ) Bᵗ

The magnitude μ = ‖W_i‖ + δ_i is held as its distance δ from where it starts, so that weight decay
goes there. The norm below the line gets no gradient. It is never taken from a dense W + B A:

    ‖(W + B A)_i‖² = ‖W_i‖² + B_i · (2 W Aᵗ + B A Aᵗ)_i

At B = 0 that is ‖W_i‖² itself, so g is exactly 1. A row of zeros has the length 1e-18. Where the
backbone is bfloat16, the rounding of its y is multiplied by g as well.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Site

SMALLEST = 1e-36  # squared norm below which a row counts as zero


class Magnitude(nn.Module):
    """δ and ‖W_i‖² of one weight, whose original W and bias are kept by reference."""

    energy: Tensor

    def __init__(self, site: Site) -> None:
        """Begin at the row norms of the frozen weight."""
        super().__init__()
        self.weight, self.bias = site.weight, site.bias
        energy = site.weight.float().square().sum(dim=1).clamp_min(SMALLEST)
        self.register_buffer("energy", energy)  # saved: sums differ between machines
        self.offset = nn.Parameter(torch.zeros_like(energy))

    @torch.no_grad()
    def against(self, A: Float[Tensor, "r n"]) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r r"]]:
        """Return W Aᵗ and A Aᵗ in float32, autocast or not."""
        with torch.autocast(A.device.type, enabled=False):
            return self.weight.float() @ A.T, A @ A.T

    def gain(
        self,
        B: Float[Tensor, "m r"],
        overlap: Float[Tensor, "m r"],
        gram: Float[Tensor, "r r"],
    ) -> Float[Tensor, " m"]:
        """Return g, from B and what ``against`` says of A; only δ gets a gradient."""
        with torch.no_grad(), torch.autocast(B.device.type, enabled=False):
            B = B.float()  # a product under autocast comes in bfloat16
            longer = (B * (2.0 * overlap + B @ gram)).sum(dim=1)
            norm = (self.energy + longer).clamp_min(SMALLEST).sqrt()
        return (self.energy.sqrt() + self.offset) / norm

    def forward(
        self,
        x: Float[Tensor, "*batch n"],
        y: Float[Tensor, "*batch m"],
        B: Float[Tensor, "m r"],
        A: Float[Tensor, "r n"],
        g: Float[Tensor, " m"],
    ) -> Float[Tensor, "*batch m"]:
        """Return x W'ᵗ + b from y = x Wᵗ + b, in y's dtype."""
        plain = y.to(g.dtype) if self.bias is None else y.to(g.dtype) - self.bias
        changed = linear(linear(x.to(A.dtype), A), B)
        return (y + (g - 1.0) * plain + g * changed).to(y.dtype)

    def change(
        self, B: Float[Tensor, "m r"], A: Float[Tensor, "r n"], g: Float[Tensor, " m"]
    ) -> Float[Tensor, "m n"]:
        """Return W' − W, dense and differentiable."""
        return (g - 1.0)[:, None] * self.weight.float() + g[:, None] * (B @ A)
