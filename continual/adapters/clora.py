"""CLoRA (controlled LoRA): the change stays out of fixed random directions of inputs and outputs.

    ΔW = s B A,   s = α / r
    L  = L_task + λ (‖A P_A‖²_F + ‖Bᵗ P_B‖²_F)

P_A (n, k) and P_B (m, k) are drawn once with orthonormal columns and stay for all tasks. Where
A P_A = 0, an input in the span of P_A gives no change of the output; where Bᵗ P_B = 0, no change
ever points into the span of P_B.
Trained numbers: r (m + n) per weight.

Reference: Lu et al. (2025), arXiv:2410.16801. No public code was found.
Deviations: the sum over all adapted weights is divided by their number, weighted by their size
(``reduction="sum"`` is the paper's). P_A and P_B are rebuilt from a saved seed and held
against some saved entries, up to the rounding of a decomposition.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site, seed_of
from continual.adapters.bases import orthonormal
from continual.adapters.checks import (
    check_choice,
    check_count,
    check_positive,
    check_weight,
    copy_state,
)
from continual.adapters.method import Method
from continual.adapters.pair import Pair
from continual.errors import InputError

WITNESSES = 8  # entries of each basis that a state keeps
ROUNDING = 0.1  # of an entry's usual size: a state in bfloat16 is as near, another draw is not


@dataclass(frozen=True, kw_only=True)
class CLoRAConfig:
    """Settings of CLoRA.

    Attributes:
        rank: r, inner size of the pair.
        alpha: α; the change is scaled by α / r, 2 by default.
        lam: λ, weight of the penalty.
        k: directions kept from the change; left out, half of the smaller side, at most 128.
        reduction: mean over the adapted layers, or sum (paper).
    """

    rank: int = 8
    alpha: float = 16.0
    lam: float = 0.5
    k: int | None = None
    reduction: str = "mean"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("CLoRAConfig.rank", self.rank)
        check_positive("CLoRAConfig.alpha", self.alpha)
        check_weight("CLoRAConfig.lam", self.lam)
        if self.k is not None:
            check_count("CLoRAConfig.k", self.k)
        check_choice("CLoRAConfig.reduction", self.reduction, ("mean", "sum"))


class CLoRA(Adapter):
    """One pair is carried through every task, and so are the directions it avoids."""

    seed: Tensor
    witness: Tensor
    P_A: Tensor
    P_B: Tensor

    def __init__(self, site: Site, config: CLoRAConfig) -> None:
        """Draw the pair and the directions."""
        super().__init__(site, config)
        self.check(site, config)
        self.k = config.k or min(128, min(site.weight.shape) // 2)
        self.scale = config.alpha / config.rank
        self.lam = config.lam * (site.share if config.reduction == "mean" else 1.0)
        self.pair = Pair(site, config.rank, "clora")
        self.site = site.name
        self.register_buffer("seed", torch.tensor(seed_of(site.seed, "clora", 0)))
        self.register_buffer("witness", self._draw())

    @staticmethod
    def check(site: Site, config: CLoRAConfig) -> None:
        """Some direction must be left to learn in."""
        if config.k and config.k >= min(site.weight.shape):
            raise InputError(
                f"clora keeps k = {config.k} directions from layer {site.name!r}, whose weight is "
                f"{tuple(site.weight.shape)}: lower k below {min(site.weight.shape)} or choose "
                "other targets."
            )

    def _draw(self) -> Float[Tensor, " w"]:
        """Rebuild P_A and P_B from the seed; return the first entries of both."""
        device = self.pair.A.device
        for name, size in {"P_A": self.pair.A.shape[1], "P_B": self.pair.B.shape[0]}.items():
            P = orthonormal(size, self.k, seed_of(int(self.seed), name)).to(device)
            self.register_buffer(name, P, persistent=False)
        return torch.cat([P.flatten()[:WITNESSES] for P in (self.P_A, self.P_B)])

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + s x Aᵗ Bᵗ."""
        return (y + self.scale * self.pair(x.to(self.pair.A.dtype))).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S B A."""
        return self.scale * self.pair.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B, A)."""
        return self.scale * self.pair.B.detach(), self.pair.A.detach()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def penalty(self) -> Float[Tensor, ""]:
        """Λ (‖A P_A‖²_F + ‖Bᵗ P_B‖²_F)."""
        inputs, outputs = self.pair.A @ self.P_A, self.pair.B.T @ self.P_B
        return self.lam * (inputs.square().sum() + outputs.square().sum())

    def begin_task(self, task: int) -> None:
        """The same pair goes on learning, outside the same directions."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """The pair from the state, the directions again from its seed, held against its witness.

        Raises:
            InputError: they are not those that the pair was kept out of.
        """
        copy_state(self, tensors)
        near = ROUNDING / max(weight.shape) ** 0.5
        if not torch.allclose(self._draw(), self.witness, rtol=0.0, atol=near):
            raise InputError(
                f"the directions of seed {int(self.seed)} at layer {self.site!r} are not those "
                "that the saved pair was kept out of: this version of torch draws others. Continue "
                "with the version that the run began with, or export the pair there."
            )

    @staticmethod
    def continues(config: CLoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: CLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="clora",
    title="CLoRA",
    paper="Lu et al. 2025, arXiv:2410.16801",
    summary="A LoRA that stays out of fixed random directions, which no task then changes.",
    config=CLoRAConfig,
    adapter=CLoRA,
    trains="adapters",
    learns="A, B",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
)
