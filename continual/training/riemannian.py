"""Riemannian preconditioning: the gradient of each factor in the metric that the other one gives.

    ∇A ← (BᵗB + δ I)⁻¹ ∇A,   ∇B ← ∇B (AAᵗ + δ I)⁻¹

then AdamW. The steepest descent in the metric ⟨ξ, ζ⟩ = tr(ξ_Aᵗ BᵗB ζ_A) + tr(ξ_B AAᵗ ζ_Bᵗ): without
AdamW and δ, a step would move B A by −η (P_B G + G P_A), P the projections onto the columns of B
and the rows of A, however the product is split. With B = 0 at the start ∇A is 0 and remains so.

Reference: Zhang and Pilanci (2024), arXiv:2402.02347, and its code's δ; PEFT has it as
``create_riemannian_optimizer``.
Deviations: both factors are preconditioned with those before the step, as in PEFT, where the
published code takes A after its update for B; AdamW corrects the bias of its moments, the published
code mostly does not; PEFT's δ is 1e-2. The small matrices are inverted in float64.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from continual.training.pairs import LearningPair

DELTA = 1e-6


@torch.no_grad()
def precondition(optimiser: torch.optim.Optimizer, pairs: Sequence[LearningPair]) -> None:
    """Replace the gradients of every pair; AdamW goes on with them."""
    for pair in pairs:
        if pair.A.grad is not None and pair.B.grad is not None:
            gram_B, gram_A = _damped(pair.B), _damped(pair.A.T)
            pair.A.grad = torch.linalg.solve(gram_B, pair.A.grad.double()).to(pair.A)
            pair.B.grad = torch.linalg.solve(gram_A, pair.B.grad.T.double()).T.to(pair.B)


def _damped(factor: Float[Tensor, "k r"]) -> Float[Tensor, "r r"]:
    """Return the Gram of the columns plus δ I."""
    gram = factor.double().T @ factor.double()
    return gram + DELTA * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
