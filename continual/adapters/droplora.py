"""DropLoRA: LoRA whose ranks are dropped at random while it learns.

    y = W x + s B diag(z) A x,   z_k ∈ {0, 1 / (1 − p)},   P(z_k = 0) = p,   s = α / r

``granularity="step"`` draws one z per weight and optimiser step, so that every step learns in
another subspace of 1 − p of the ranks (the paper's text); "sample" draws one per example, that is
per index of the input's first axis; "element" one per input vector, which is what the published
code does (``nn.Dropout`` on A x). Answers have z = 1, its mean, so merging is exact.
Trained numbers: r (m + n) per weight.

Reference: Zhang (2025), arXiv:2508.17337; its code for "element" and its p.
Deviations: what is left is scaled by 1 / (1 − p) for the step mask too, as dropout is; the code's
"dynamic pruning", which trains and merges different functions, is left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
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


@dataclass(frozen=True, kw_only=True)
class DropLoRAConfig:
    """Settings of DropLoRA.

    Attributes:
        rank: r, inner size of the pair; 32 in the published runs.
        alpha: α; the change is scaled by α / r, 2 by default and in the published runs.
        p: probability that a rank is dropped, below 1; 0.5 in the published runs.
        granularity: step (paper), sample, or element (published code).
    """

    rank: int = 8
    alpha: float = 16.0
    p: float = 0.2
    granularity: str = "step"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("DropLoRAConfig.rank", self.rank)
        check_positive("DropLoRAConfig.alpha", self.alpha)
        check_weight("DropLoRAConfig.p", self.p)
        if self.p >= 1.0:
            raise InputError(
                f"DropLoRAConfig.p must be below 1 for anything to learn; got {self.p}."
            )
        check_choice("DropLoRAConfig.granularity", self.granularity, ("step", "sample", "element"))


class DropLoRA(Adapter):
    """One pair is carried through every task; what a step drops is forgotten after it."""

    plain_pairs = False

    def __init__(self, site: Site, config: DropLoRAConfig) -> None:
        """Draw the pair."""
        super().__init__(site, config)
        self.config, self.scale = config, config.alpha / config.rank
        self.pair = Pair(site, config.rank, "droplora")
        self.mask: Float[Tensor, " r"] | None = None  # of the step that is being made

    def _draw(self, shape: tuple[int, ...], device: torch.device) -> Float[Tensor, "..."]:
        """Return z of any shape from torch's global generator."""
        kept = 1.0 - self.config.p
        return torch.empty(shape, device=device).bernoulli_(kept).div_(kept)

    def _masked(self, inner: Float[Tensor, "*batch r"]) -> Float[Tensor, "*batch r"]:
        """Drop ranks, while a step is being made in training mode."""
        if self.mask is None or not self.training:
            return inner
        if self.config.granularity == "step":
            return inner * self.mask
        shape = tuple(inner.shape)
        if self.config.granularity == "sample":
            shape = (*shape[:-1][:1], *[1] * (len(shape) - 2), shape[-1])
        return inner * self._draw(shape, inner.device)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + s x Aᵗ diag(z) Bᵗ."""
        inner = self._masked(linear(x.to(self.pair.A.dtype), self.pair.A))
        return (y + self.scale * linear(inner, self.pair.B)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S B A, without a mask."""
        return self.scale * self.pair.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B, A)."""
        return self.scale * self.pair.B.detach(), self.pair.A.detach()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def before_step(self) -> None:
        """Draw the z of this step, on the CPU, so that it is the same on every device."""
        self.mask = self._draw((self.config.rank,), torch.device("cpu")).to(self.pair.A.device)

    def after_step(self, lr: float) -> bool:
        """Every rank is back; the moments stay."""
        self.mask = None
        return False

    def begin_task(self, task: int) -> None:
        """The same pair goes on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: DropLoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: DropLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="droplora",
    title="DropLoRA",
    paper="Zhang 2025, arXiv:2508.17337",
    summary="A LoRA whose ranks are dropped at random while it learns.",
    config=DropLoRAConfig,
    adapter=DropLoRA,
    trains="adapters",
    learns="A, B",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
    noisy=True,
)
