"""N-LoRA: keep every task's change sparse, so that the changes of different tasks seldom collide.

    ΔW = s Σ_{k<t} B_k A_k  +  s B_t A_t,   s = α / r
    L  = L_task + λ mean |s B_t A_t|         the mean runs over all adapted numbers of the model

Two changes collide where both are non-zero; with independent supports of density p the expected
rate is p², so sparse changes leave each other alone. Past tasks are only frozen: the penalty never
looks at them. With λ = 0 this is IncLoRA, bit for bit.
Trained numbers: r (m + n) per weight and task.

Reference: Yang et al. (2024), arXiv:2410.10179.
Deviations: a mean where the paper sums, so that λ carries over between models; ``reduction="sum"``
is the paper's. The (sub)gradient of ``delta`` is exact, computed in blocks of rows; ``sampling``
< 1 estimates it, without bias, from that share of the rows. The published code penalises the r × r
product A B instead, unscaled and summed: ``penalty="rr"``, for square weights. ``factors``
penalises |A| and |B|. None of these gives zeros; ``proximal`` soft-thresholds A and B by
learning rate × λ after every step instead, which does (Parikh and Boyd 2014, section 6.5.2).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softshrink

from continual.adapters.absolute import absolute_sum, sampled_absolute_sum
from continual.adapters.base import Adapter, Site, seed_of
from continual.adapters.checks import (
    check_choice,
    check_count,
    check_positive,
    check_weight,
    copy_state,
)
from continual.adapters.growing import Growing
from continual.errors import InputError

LAM = {"proximal": 0.1}  # where the default is another one
PENALTIES = ("delta", "rr", "factors", "proximal")


@dataclass(frozen=True, kw_only=True)
class NLoRAConfig:
    """Settings of N-LoRA.

    Attributes:
        rank: r, inner size of each task's pair; 8 in the paper.
        alpha: α; every pair is scaled by α / r, 2 by default (32 / 8 in the paper's code).
        lam: λ, weight of the penalty; choose it on validation data. Left out, it is 5, or 0.1 for
            proximal, where it must be below 1: a step of AdamW moves a number by about the
            learning rate, and a threshold of that size would leave nothing.
        penalty: delta (paper), rr (published code), factors, or proximal.
        reduction: mean over all adapted numbers of the model, or sum (paper).
        sampling: share of the rows that one step looks at, for delta; 1 looks at all.
    """

    rank: int = 8
    alpha: float = 16.0
    lam: float | None = None
    penalty: str = "delta"
    reduction: str = "mean"
    sampling: float = 1.0

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("NLoRAConfig.rank", self.rank)
        check_positive("NLoRAConfig.alpha", self.alpha)
        check_choice("NLoRAConfig.penalty", self.penalty, PENALTIES)
        check_weight("NLoRAConfig.lam", self.weight)
        if self.penalty == "proximal" and (self.weight >= 1.0 or self.reduction == "sum"):
            raise InputError(
                "penalty 'proximal' thresholds every number by learning rate × lam: lam must be "
                f"below 1 and there is no sum; got lam {self.lam}, reduction {self.reduction!r}."
            )
        check_choice("NLoRAConfig.reduction", self.reduction, ("mean", "sum"))
        check_positive("NLoRAConfig.sampling", self.sampling)
        if self.sampling > 1.0 or (self.sampling < 1.0 and self.penalty != "delta"):
            raise InputError(
                "NLoRAConfig.sampling is a share of rows, at most 1, for penalty 'delta'; got "
                f"{self.sampling!r} with {self.penalty!r}."
            )

    @property
    def weight(self) -> float:
        """λ, or its default for this penalty."""
        return LAM.get(self.penalty, 5.0) if self.lam is None else self.lam


class NLoRA(Adapter):
    """The frozen sum of the past and one sparse pair that learns."""

    steps: Tensor

    def __init__(self, site: Site, config: NLoRAConfig) -> None:
        """Draw the first pair."""
        super().__init__(site, config)
        m, n = site.weight.shape
        if config.penalty == "rr" and m != n:
            raise InputError(
                f"penalty 'rr' is A B, which exists for square weights only; layer {site.name!r} "
                f"is ({m}, {n}). Use penalty 'delta', or choose square targets."
            )
        self.config, self.seed = config, site.seed
        if config.sampling < 1.0:  # a draw depends on how many there were before
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.pairs = Growing(site, config.rank, config.alpha, "nlora")
        self.scale = self.pairs.scale
        numbers = config.rank * (m + n) if config.penalty == "factors" else m * n
        self.weight_of_sum = config.weight
        if config.reduction == "mean":
            self.weight_of_sum *= site.share / numbers

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x Σ_k (s B_k A_k)ᵗ; two pairs of products however many tasks there were."""
        return self.pairs(x, y)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S Σ_k B_k A_k."""
        return self.pairs.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """All pairs side by side; rank r (t + 1)."""
        return self.pairs.factors()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """(s B_k, A_k) of every task."""
        return self.pairs.changes()

    def penalty(self) -> Float[Tensor, ""]:
        """The weighted sum that ``penalty`` names, of the current pair."""
        A, B, how = self.pairs.pair.A, self.pairs.pair.B, self.config.penalty
        if self.weight_of_sum == 0.0 or how == "proximal":
            return A.new_zeros(())
        if how == "rr":
            return self.weight_of_sum * (A @ B).abs().sum()
        if how == "factors":
            return self.weight_of_sum * (A.abs().sum() + B.abs().sum())
        if self.config.sampling == 1.0:
            total = absolute_sum(B, A)
        else:
            seed = seed_of(self.seed, "rows", int(self.steps))
            total = sampled_absolute_sum(B, A, self.config.sampling, seed)
        return self.weight_of_sum * self.pairs.scale * total

    @torch.no_grad()
    def after_step(self, lr: float) -> bool:
        """Soft-threshold the current pair, where the penalty is proximal; count steps of draws."""
        if self.config.sampling < 1.0:
            self.steps += 1
        if self.config.penalty == "proximal":
            for factor in (self.pairs.pair.A, self.pairs.pair.B):
                factor.copy_(softshrink(factor, lr * self.config.weight))
        return False

    def begin_task(self, task: int) -> None:
        """The pair that has learned is frozen, and a new one starts from B = 0."""
        self.pairs.begin(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; the stack takes the saved size."""
        self.pairs.fit(tensors, "pairs.")
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: NLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)
