"""The frozen past: the factors of every earlier task in one pair of matrices.

    Σ_k B_k A_k = [B_1 … B_t] [A_1; …; A_t]

so that t past tasks cost one pair of matrix products. Kept in float32 and never merged into the
backbone while training: at ‖ΔW‖/‖W‖ = 1 %, a merge into bfloat16 loses a sixth of the update.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Site
from continual.errors import InputError


class FrozenStack(nn.Module):
    """Buffers A (R, n) and B (m, R) that grow by one pair per finished task; R may be 0."""

    A: Tensor
    B: Tensor

    def __init__(self, site: Site) -> None:
        """Begin without a past."""
        super().__init__()
        m, n = site.weight.shape
        self.register_buffer("A", torch.zeros(0, n, device=site.weight.device))
        self.register_buffer("B", torch.zeros(m, 0, device=site.weight.device))

    @property
    def rank(self) -> int:
        """R, the sum of the ranks of all past tasks."""
        return self.A.shape[0]

    @torch.no_grad()
    def append(self, B: Float[Tensor, "m r"], A: Float[Tensor, "r n"]) -> None:
        """Freeze a copy of one more pair."""
        self.A = torch.cat([self.A, A.detach()])
        self.B = torch.cat([self.B, B.detach()], dim=1)

    def fit(self, tensors: Mapping[str, Tensor], prefix: str) -> None:
        """Take the size of a saved stack, so that its tensors can be copied in.

        Raises:
            InputError: the saved pair does not belong together or to this weight.
        """
        A, B = tensors[f"{prefix}A"], tensors[f"{prefix}B"]
        rank = A.shape[0]
        if A.shape != (rank, self.A.shape[1]) or B.shape != (self.B.shape[0], rank):
            raise InputError(
                f"the saved stack {prefix!r} has shapes {tuple(B.shape)} and {tuple(A.shape)}; "
                f"this weight needs ({self.B.shape[0]}, R) and (R, {self.A.shape[1]})."
            )
        self.A = self.A.new_zeros(A.shape)
        self.B = self.B.new_zeros(B.shape)

    def forward(
        self, x: Float[Tensor, "*batch n"], scale: Float[Tensor, " R"] | None = None
    ) -> Float[Tensor, "*batch m"]:
        """Return x (B diag(scale) A)ᵗ; ``scale`` is all ones by default."""
        inner = linear(x, self.A)
        return linear(inner if scale is None else inner * scale, self.B)

    def product(self) -> Float[Tensor, "m n"]:
        """Return B A, dense."""
        return self.B @ self.A
