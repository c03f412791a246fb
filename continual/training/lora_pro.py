"""LoRA-Pro: steps of a pair whose product moves as a full matrix would, as well as it can.

    g̃ = s (B gA + gB A)                          how ΔW moves when the factors move along gA, gB
    gA = s⁻² (BᵗB)⁻¹ ∇A + X A
    gB = s⁻² (I − B (BᵗB)⁻¹ Bᵗ) ∇B (AAᵗ)⁻¹ − B X
    BᵗB X + X AAᵗ = −s⁻² (BᵗB)⁻¹ ∇A Aᵗ

With ∇A = s Bᵗ G and ∇B = s G Aᵗ this g̃ is the matrix nearest to the full gradient G = ∂L/∂ΔW of all
that gA and gB can make, for every X; this X keeps gA and gB nearest to ∇A and ∇B. G itself is never
formed. A step is one of Adam over the whole weight: g̃ is found, its two moments (m, n) make a
direction of it, and gA, gB are found once more for that direction as G:

    Ĝ = (M / (1 − β₁ᵗ)) / (√V / √(1 − β₂ᵗ) + ε),   A ← A − η gA,   B ← B − η gB

B = 0 at the start has no inverse; with pseudo-inverses gA = 0 and gB = s⁻² ∇B (AAᵗ)⁻¹, which is
what the published code does in its first step. Weight decay is decoupled, on the factors.

Reference: Wang et al. (2024), arXiv:2407.18242, section 2; code mrflogs/LoRA-Pro.
Deviations from the published code: s is the adapter's own instead of 16 / 8; pairs come by
structure; exact pseudo-inverses in float64 where it adds 1e-8 to the diagonals; the moments are
float32 where it rounds squares to bfloat16.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from continual.training.pairs import LearningPair

BETAS = (0.9, 0.999)
EPSILON = 1e-8

Spectrum = tuple[Float[Tensor, " r"], Float[Tensor, "r r"], Float[Tensor, " r"]]


@torch.no_grad()
def step_pairs(optimiser: torch.optim.Optimizer, pairs: Sequence[LearningPair]) -> None:
    """Update every pair that has a gradient, and use the gradient up."""
    rate = optimiser.param_groups[0]["lr"]
    keep = 1.0 - rate * optimiser.param_groups[0]["weight_decay"]
    for pair in pairs:
        A, B, s = pair.A, pair.B, pair.scale
        if A.grad is None or B.grad is None:
            continue
        gB, gA = adjusted(B, A, s, B.grad, A.grad)
        full = _adam(optimiser.state[A], s * (B @ gA + gB @ A))
        gB, gA = adjusted(B, A, s, s * (full @ A.T), s * (B.T @ full))
        A.mul_(keep).sub_(rate * gA)
        B.mul_(keep).sub_(rate * gB)
        A.grad = B.grad = None


def adjusted(
    B: Float[Tensor, "m r"],
    A: Float[Tensor, "r n"],
    s: float,
    grad_B: Float[Tensor, "m r"],
    grad_A: Float[Tensor, "r n"],
) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
    """Return (gB, gA): how the factors move so that s B A moves most like the full gradient.

    X is found in the eigenvectors of BᵗB and AAᵗ, where its equation is one division per number.
    """
    of_B, of_A = _spectrum(B), _spectrum(A.T)
    inside = _inverse(of_B).to(A) @ grad_A / s**2
    outside = grad_B @ _inverse(of_A).to(B) / s**2
    outside = outside - B @ (_inverse(of_B).to(B) @ (B.T @ outside))
    (b, U, _), (a, V, _) = of_B, of_A
    sums = b[:, None] + a[None, :]
    rotated = -(U.T @ (inside @ A.T).double() @ V)
    solved = torch.where(sums > 0.0, rotated / sums.clamp_min(torch.finfo(a.dtype).tiny), 0.0)
    X = (U @ solved @ V.T).to(A)
    return outside - B @ X, inside + X @ A


def _spectrum(factor: Float[Tensor, "k r"]) -> Spectrum:
    """Return eigenvalues and -vectors of the Gram of the columns, and 1 / eigenvalues.

    What rounding of the factor's numbers alone can make of a zero counts as zero.
    """
    wide = factor.double()
    values, vectors = torch.linalg.eigh(wide.T @ wide)
    least = (len(values) * torch.finfo(factor.dtype).eps) ** 2 * values[-1]
    values = torch.where(values > least, values, 0.0)
    return values, vectors, torch.where(values > 0.0, 1.0 / values, 0.0)


def _inverse(spectrum: Spectrum) -> Float[Tensor, "r r"]:
    _, vectors, inverses = spectrum
    return (vectors * inverses) @ vectors.T


def _adam(state: dict[str, Any], gradient: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
    """Take in the gradient of the weight and return Adam's direction."""
    if not state:
        state["step"] = torch.tensor(0.0)
        state["moment"] = torch.zeros_like(gradient)
        state["square"] = torch.zeros_like(gradient)
    state["step"] = state["step"] + 1
    (first, second), step = BETAS, int(state["step"])
    state["moment"].lerp_(gradient, 1.0 - first)
    state["square"].mul_(second).addcmul_(gradient, gradient, value=1.0 - second)
    root = state["square"].sqrt() / (1.0 - second**step) ** 0.5
    return state["moment"] / (1.0 - first**step) / (root + EPSILON)
