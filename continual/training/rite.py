"""LoRA-RITE: steps of a pair that do not depend on how its product is split into factors.

    B = U_B R_B,   Aᵗ = U_A R_A                     QR: an orthonormal basis and a magnitude
    ∇̄A = R_B⁻ᵗ ∇A (r, n)                            the unmagnified gradient: s U_Bᵗ (∂L/∂ΔW)
    P = U_Bᵗ U_B,old                                from the basis of the last step to this one
    V ← β₂ P V Pᵗ + (1 − β₂) ∇̄A ∇̄Aᵗ / n,   M ← β₁ P M + (1 − β₁) V^{−1/2} ∇̄A
    A ← A − η R_B⁻¹ M

and the same for Bᵗ with the roles of the factors exchanged, both from the factors before the step.
(B S, S⁻¹ A) is the same change for every invertible S; R_B⁻¹ M moves it by the same η U_B M, which
AdamW, whose moments belong to single numbers of the factors, does not. β's are those of a mean,
β (1 − βᵗ⁻¹) / (1 − βᵗ) at step t, so that no bias is to be corrected.

B = 0 at the start has no basis: the pseudo-inverse of R_B = 0 is 0, so in the first step A rests
and B moves, as in the published code. The norm that ``train.clip`` bounds is that of ∇̄, which does
not depend on the split either; weight decay is decoupled as AdamW's.

Reference: Yen et al. (2024), arXiv:2410.20625, algorithm 1; code gkevinyen5418/LoRA-RITE.
Deviations from the paper: V is divided by n, the columns of ∇̄A, and escaped mass ρ is not added,
both as the published code does by default. From that code: pairs come by structure instead of by
alternating places in a list; an update whose ∇̄ is larger than 1 is not silently left out
(``update_skipping``); V and what is inverted are float64, and a V that rounding made indefinite is
lifted to 0 instead of turning into NaN.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from continual.training.pairs import LearningPair

BETAS = (0.9, 0.999)
EPSILON = 1e-6  # beside a root of V


@torch.no_grad()
def step_pairs(optimiser: torch.optim.Optimizer, pairs: Sequence[LearningPair]) -> None:
    """Update every pair that has a gradient, and use the gradient up."""
    rate = optimiser.param_groups[0]["lr"]
    keep = 1.0 - rate * optimiser.param_groups[0]["weight_decay"]
    for pair in pairs:
        A, B = pair.A, pair.B
        if A.grad is None or B.grad is None:
            continue
        basis_B, inverse_B = _polar(B)
        basis_A, inverse_A = _polar(A.T)
        along_A = _direction(optimiser.state[A], A.grad.T @ inverse_B, basis_B)
        along_B = _direction(optimiser.state[B], B.grad @ inverse_A, basis_A)
        A.mul_(keep).sub_(rate * (along_A @ inverse_B.T).T)
        B.mul_(keep).sub_(rate * (along_B @ inverse_A.T))
        A.grad = B.grad = None


@torch.no_grad()
def gradient_norm(pairs: Sequence[LearningPair], others: Iterable[nn.Parameter]) -> Tensor:
    """Return the norm of the whole gradient, that of the pairs unmagnified."""
    gradients = [other.grad for other in others if other.grad is not None]
    for pair in pairs:
        if pair.A.grad is not None and pair.B.grad is not None:
            gradients += [pair.A.grad.T @ _polar(pair.B)[1], pair.B.grad @ _polar(pair.A.T)[1]]
    return torch.nn.utils.get_total_norm(gradients)


def _polar(factor: Float[Tensor, "k r"]) -> tuple[Float[Tensor, "k r"], Float[Tensor, "r r"]]:
    """Return an orthonormal basis U of the columns and the (pseudo-)inverse of R, factor = U R."""
    basis, R = torch.linalg.qr(factor)
    least = len(R) * torch.finfo(factor.dtype).eps
    return basis.contiguous(), torch.linalg.pinv(R.double(), rtol=least).to(factor.dtype)


def _direction(
    state: dict[str, Any], gradient: Float[Tensor, "k r"], basis: Float[Tensor, "l r"]
) -> Float[Tensor, "k r"]:
    """Take in ∇̄ᵗ and return Mᵗ; the state is written in the basis of the other factor."""
    if not state:
        state["step"] = torch.tensor(0.0)
        state["moment"] = torch.zeros_like(gradient)
        state["second"] = gradient.new_zeros(basis.shape[1], basis.shape[1], dtype=torch.float64)
        state["basis"] = basis
    state["step"] = state["step"] + 1
    turn = basis.T @ state["basis"]
    first, second = (_kept(beta, int(state["step"])) for beta in BETAS)
    wide = gradient.double()
    V = turn.double() @ state["second"] @ turn.double().T
    V = second * V + (1.0 - second) * (wide.T @ wide) / len(wide)
    whitened = gradient @ _inverse_root(V).to(gradient.dtype)
    M = first * (state["moment"] @ turn.T) + (1.0 - first) * whitened
    state["moment"], state["second"], state["basis"] = M, V, basis
    return M


def _kept(beta: float, step: int) -> float:
    """Return how much of a mean is kept at step 1, 2, ...: nothing at first, β in the end."""
    return beta * (1.0 - beta ** (step - 1)) / (1.0 - beta**step)


def _inverse_root(V: Float[Tensor, "r r"]) -> Float[Tensor, "r r"]:
    values, vectors = torch.linalg.eigh((V + V.T) / 2)
    return (vectors / (values.clamp_min(0.0).sqrt() + EPSILON)) @ vectors.T
