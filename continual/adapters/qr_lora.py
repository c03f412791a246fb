"""QR-LoRA: a pair that starts in the weight itself, at a piece of its QR or singular decomposition.

    ΔW = s (B A − B⁰ A⁰),   B = B⁰ + δB,   A = A⁰ + δA,   s = α / r      δB, δA from zero
    qr    W = Q R:        B⁰ = Q[:, :r],        A⁰ = R[:r]               (OLoRA)
    svd   W ≈ U Σ Vᵗ:     B⁰ = U √(Σ / s),      A⁰ = √(Σ / s) Vᵗ         (PiSSA)

The published methods put W − s B⁰ A⁰ in the place of W and train B and A. Here W stays what it is
and the distances δ learn: a fresh adapter changes nothing to the last bit, disabling needs no copy,
and weight decay leads back to the start. ΔW = s [B⁰ δB] [δA; A] has rank 2 r at most and is
exported as it is. The first r columns of Q are those of the first r columns of W, and R[:r] = QᵗW,
with a positive diagonal; "qr" therefore depends on the order of the inputs. The start is saved with
the state, because another linear-algebra library may round or turn it.
Trained numbers: r (m + n) per weight.

References: Büyükakyüz (2024), arXiv:2406.01775; Meng et al. (2024), arXiv:2404.02948.
Deviation: the frozen layer keeps W and its dtype. The name OLoRA belongs to another method here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import (
    check_choice,
    check_count,
    check_positive,
    check_rank,
    copy_state,
)
from continual.adapters.method import Method
from continual.linalg import svd


@dataclass(frozen=True, kw_only=True)
class QRLoRAConfig:
    """Settings of QR-LoRA.

    Attributes:
        rank: r, inner size of the pair.
        alpha: α; the pair is scaled by α / r, 2 by default.
        start: qr begins at the first columns' QR decomposition (OLoRA), svd at the leading singular
            triplets (PiSSA).
    """

    rank: int = 8
    alpha: float = 16.0
    start: str = "qr"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("QRLoRAConfig.rank", self.rank)
        check_positive("QRLoRAConfig.alpha", self.alpha)
        check_choice("QRLoRAConfig.start", self.start, ("qr", "svd"))


class QRLoRA(Adapter):
    """One pair is carried through every task."""

    start_B: Tensor
    start_A: Tensor

    def __init__(self, site: Site, config: QRLoRAConfig) -> None:
        """Decompose the frozen weight."""
        super().__init__(site, config)
        rank = check_rank(config.rank, site, "qr-lora")
        self.scale = config.alpha / config.rank
        begin = _by_qr if config.start == "qr" else _by_svd
        B, A = begin(site.weight.float(), rank, self.scale)
        self.register_buffer("start_B", B.contiguous().to(site.weight.device))
        self.register_buffer("start_A", A.contiguous().to(site.weight.device))
        self.B = nn.Parameter(torch.zeros_like(self.start_B))
        self.A = nn.Parameter(torch.zeros_like(self.start_A))

    def _factors(self) -> tuple[Float[Tensor, "m k"], Float[Tensor, "k n"]]:
        """Return s [B⁰ δB] and [δA; A⁰ + δA]."""
        B = self.scale * torch.cat([self.start_B, self.B], dim=1)
        return B, torch.cat([self.A, self.start_A + self.A])

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x ΔWᵗ through 2 r numbers."""
        B, A = self._factors()
        return (y + linear(linear(x.to(A.dtype), A), B)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S (B A − B⁰ A⁰)."""
        B, A = self._factors()
        return B @ A

    @torch.no_grad()
    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """Rank 2 r."""
        return self._factors()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def begin_task(self, task: int) -> None:
        """The same pair goes on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: QRLoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: QRLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


def _by_qr(W: Float[Tensor, "m n"], rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return Q[:, :r] and R[:r]; ``scale`` plays no part, as published."""
    Q, T = torch.linalg.qr(W[:, :rank])
    Q = Q * torch.where(T.diagonal() < 0.0, -1.0, 1.0)
    return Q, Q.T @ W


def _by_svd(W: Float[Tensor, "m n"], rank: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return U √(Σ/s) and √(Σ/s) Vᵗ."""
    found = svd(W.cpu(), rank, diagnose=False)
    root = (torch.tensor(found.s) / scale).sqrt()
    return torch.tensor(found.U) * root, root[:, None] * torch.tensor(found.Vt)


METHOD = Method(
    name="qr-lora",
    title="QR-LoRA (OLoRA initialisation, PiSSA)",
    paper="Büyükakyüz 2024, arXiv:2406.01775",
    summary="A pair that starts at a piece of the weight's own QR or singular decomposition.",
    config=QRLoRAConfig,
    adapter=QRLoRA,
    trains="adapters",
    learns="A, B",
    learning_rate=0.001,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
)
