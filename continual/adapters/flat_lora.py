"""Flat-LoRA: learn a change that keeps its loss when the whole weight is shaken.

    min over A, B of E_ε L(W' + ε),   ε_ij ~ N(0, σ²/n ‖W'_i‖²),   W' = W + s B A,   s = α / r

W'_i is row i, the weights of one output. One ε is drawn per weight and step, none for answers, and
never kept: a step holds a seed and m row norms, from which every pass makes ε anew.
Trained numbers: r (m + n) per weight.

Reference: Li et al. (2025), arXiv:2409.14396; σ from the README of its code.
Deviation: σ is constant; the paper lets it rise, by a schedule that could not be established.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, check_weight, copy_state
from continual.adapters.method import Method
from continual.adapters.pair import Pair


@dataclass(frozen=True, kw_only=True)
class FlatLoRAConfig:
    """Settings of Flat-LoRA.

    Attributes:
        rank: r, inner size of the pair; 8 in the published runs.
        alpha: α; the change is scaled by α / r, 2 by default.
        sigma: σ, norm of the noise of a row relative to the row's, in the mean square.
    """

    rank: int = 8
    alpha: float = 16.0
    sigma: float = 0.05

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("FlatLoRAConfig.rank", self.rank)
        check_positive("FlatLoRAConfig.alpha", self.alpha)
        check_weight("FlatLoRAConfig.sigma", self.sigma)


def noise(deviation: Float[Tensor, " m"], inputs: int, seed: int) -> Float[Tensor, "m n"]:
    """Return ε, whose row i has this standard deviation, from a seed, on the same device."""
    drawn = torch.empty(len(deviation), inputs, device=deviation.device)
    drawn.normal_(generator=torch.Generator(deviation.device).manual_seed(seed))
    return drawn * deviation[:, None]


class Shaken(torch.autograd.Function):
    """x εᵗ, of which neither pass keeps ε; ε is no function of what learns."""

    @staticmethod
    def forward(
        ctx: Any, x: Float[Tensor, "*batch n"], deviation: Float[Tensor, " m"], seed: int
    ) -> Float[Tensor, "*batch m"]:
        """Make ε and multiply."""
        ctx.save_for_backward(deviation)
        ctx.rest = (x.shape[-1], seed)
        return linear(x, noise(deviation, *ctx.rest))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Make the same ε and multiply from the other side."""
        return grads[0].float() @ noise(*ctx.saved_tensors, *ctx.rest), None, None


class FlatLoRA(Adapter):
    """One pair is carried through every task; what shakes a step is forgotten after it."""

    def __init__(self, site: Site, config: FlatLoRAConfig) -> None:
        """Draw the pair."""
        super().__init__(site, config)
        self.scale, self.sigma, self.weight = config.alpha / config.rank, config.sigma, site.weight
        self.pair = Pair(site, config.rank, "flat-lora")
        self.step: tuple[Tensor, int] | None = None  # deviation of the rows and seed of this step

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + s x Aᵗ Bᵗ, and x εᵗ while a step is being made in training mode."""
        x = x.to(self.pair.A.dtype)
        change = self.scale * self.pair(x)
        if self.training and self.step is not None:
            change = change + Shaken.apply(x, *self.step)
        return (y + change).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S B A, without noise."""
        return self.scale * self.pair.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B, A)."""
        return self.scale * self.pair.B.detach(), self.pair.A.detach()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    @torch.no_grad()
    def before_step(self) -> None:
        """Draw the seed of this step's noise, and measure the rows of W'."""
        norms = (self.weight.float() + self.delta_weight().float()).norm(dim=1)
        part = self.sigma * self.weight.shape[1] ** -0.5
        self.step = (part * norms, int(torch.randint(2**63 - 1, ())))

    def after_step(self, lr: float) -> bool:
        """The weight is at rest; the moments stay."""
        self.step = None
        return False

    def begin_task(self, task: int) -> None:
        """The same pair goes on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state but W."""
        self.weight = weight
        copy_state(self, tensors)

    @staticmethod
    def continues(config: FlatLoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: FlatLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="flat-lora",
    title="Flat-LoRA",
    paper="Li et al. 2025, arXiv:2409.14396",
    summary="A LoRA learned while the whole weight is shaken, so that it ends where loss is flat.",
    config=FlatLoRAConfig,
    adapter=FlatLoRA,
    trains="adapters",
    learns="A, B",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
    noisy=True,
)
