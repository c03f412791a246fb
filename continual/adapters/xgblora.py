"""XGBLoRA: boosting with rank-1 changes, each learned for few steps on a few layers drawn by lot.

    ΔW = s Σ_k b_k a_kᵗ  +  s b aᵗ,   s = α / r,   r = 1,   b (m) from zero,   a (n) at random

After every ``every`` optimiser steps, and where a task ends, the booster joins what is frozen (with
weight 1) and a new one begins. In each round only a share of the model's layers learns; all weights
of one layer ("model.layers.3" and what is below it) are drawn together, from their seeds, the task
and the round, so every weight knows the draw. In the other layers b stays zero and nothing moves.
Trained numbers: r (m + n) per weight, of which the share of the drawn layers moves at any time.

Reference: Zhang et al. (2024), arXiv:2410.19694 (rank-1 boosters, random layers, κ steps, merge).
Deviations: boosters are kept beside W in float32, exactly. The norms of a and b are not added to
the loss (``train.weight_decay`` is there for that). Parameters of resting layers exist all the
time and have no gradient.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, copy_state
from continual.adapters.lottery import Lottery
from continual.adapters.method import Method
from continual.adapters.pair import Pair
from continual.adapters.rounds import Rounds
from continual.errors import InputError


@dataclass(frozen=True, kw_only=True)
class XGBLoRAConfig:
    """Settings of XGBLoRA.

    Attributes:
        rank: r, inner size of a booster; 1 in the paper.
        alpha: α; every booster is scaled by α / r, 2 by default.
        every: κ, optimiser steps in a round.
        share: of the layers that learn in a round, in (0, 1]; at least one learns.
    """

    rank: int = 1
    alpha: float = 2.0
    every: int = 10
    share: float = 0.34

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("XGBLoRAConfig.rank", self.rank)
        check_positive("XGBLoRAConfig.alpha", self.alpha)
        check_count("XGBLoRAConfig.every", self.every)
        check_positive("XGBLoRAConfig.share", self.share)
        if self.share > 1:
            raise InputError(
                f"XGBLoRAConfig.share must be at most 1, which is every layer; got {self.share!r}."
            )


class XGBLoRA(Adapter):
    """The frozen boosters, and the current one, which learns if its layer was drawn."""

    def __init__(self, site: Site, config: XGBLoRAConfig) -> None:
        """Draw the first booster and take part in the lottery of layers."""
        super().__init__(site, config)
        pair = Pair(site, config.rank, "xgblora")
        self.rounds = Rounds(site, pair, alpha=config.alpha, every=config.every)
        self.scale = self.rounds.scale
        self.lottery = site.shared.once("xgblora", Lottery)
        self.layer, self.share = self.lottery.join(site), config.share

    @property
    def learns(self) -> bool:
        """Whether this weight's layer was drawn for the current round."""
        return self.layer in self.lottery.drawn(self.share, *self.rounds.now)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x (Σ_k s b_k a_kᵗ + s b aᵗ)ᵗ."""
        return self.rounds(x, y)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """Σ_k s b_k a_kᵗ + s b aᵗ."""
        return self.rounds.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """All boosters side by side."""
        return self.rounds.factors()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One change: what is condensed no longer says which task it came from."""
        return [self.factors()]

    def after_backward(self) -> None:
        """Without a gradient the optimiser leaves a parameter alone, its decay included."""
        if not self.learns:
            for parameter in self.parameters():
                parameter.grad = None

    def after_step(self, lr: float) -> bool:
        """At the end of a round the booster is frozen and other layers are drawn."""
        return self.rounds.after_step()

    def begin_task(self, task: int) -> None:
        """As at the end of a round."""
        self.rounds.begin_task(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; who learns follows from the round."""
        self.rounds.fit(tensors, "rounds.")
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: XGBLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="xgblora",
    title="XGBLoRA",
    paper="Zhang et al. 2024, arXiv:2410.19694",
    summary="Rank-1 boosters of a few steps each, on a few layers drawn by lot.",
    config=XGBLoRAConfig,
    adapter=XGBLoRA,
    trains="adapters",
    learns="a, b of the round, in some layers",
    learning_rate=0.03,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
    rests=True,
    restarts=True,
)
