"""PRILoRA: ranks that grow with depth, and a factor A whose least used entries are cleared.

    ΔW = s B A,   s = α / r_l,   r_l = round(r (1 + g (2 d_l − 1)))
    every k steps, of every A: the share ρ of its entries with the lowest |A_ij| e_j ← 0
    e ← β e + (1 − β) (‖x_1‖², …, ‖x_n‖²)^½ at every step

d_l is 0 in the first block of the network and 1 in the last, so with g = 1/2 the rank grows from
r/2 to 3r/2 and r is its mean over evenly spaced blocks. What is cleared goes on learning, from
gradients that come after and without its old momentum: pruning is temporary. e is the accumulated
size of each input over the tokens of a step.
Trained numbers: r_l (m + n) per weight.

Reference: Benedek and Wolf (2024), arXiv:2401.11316 (EACL Findings).
Deviations: the paper gives a first and a last rank; here r and g say the same. k, ρ and β are ours:
the paper's could not be read. Blocks are told by the first number in a layer's path; a layer
without one has d = 1/2.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import (
    check_count,
    check_positive,
    check_rank,
    check_weight,
    copy_state,
)
from continual.adapters.depth import depths
from continual.adapters.method import Method
from continual.adapters.pair import Pair
from continual.errors import InputError


@dataclass(frozen=True, kw_only=True)
class PRILoRAConfig:
    """Settings of PRILoRA.

    Attributes:
        rank: r, the rank in the middle of the network.
        growth: g in [0, 1): how much more of it the last block has, and how much less the first.
        alpha: α; the change of a weight is scaled by α / r_l.
        every: k, optimiser steps between two prunings.
        share: ρ in [0, 1), which part of A's entries is cleared.
        decay: β in [0, 1), of the moving average of input sizes.
    """

    rank: int = 8
    growth: float = 0.5
    alpha: float = 16.0
    every: int = 40
    share: float = 0.5
    decay: float = 0.9

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("PRILoRAConfig.rank", self.rank)
        check_count("PRILoRAConfig.every", self.every)
        check_positive("PRILoRAConfig.alpha", self.alpha)
        for name in ("growth", "share", "decay"):
            check_weight(f"PRILoRAConfig.{name}", getattr(self, name))
            if getattr(self, name) >= 1.0:
                raise InputError(
                    f"PRILoRAConfig.{name} must be below 1; got {getattr(self, name)!r}."
                )

    def rank_at(self, depth: float) -> int:
        """Return r_l of a layer, at least 1."""
        return max(1, round(self.rank * (1.0 + self.growth * (2.0 * depth - 1.0))))


class PRILoRA(Adapter):
    """One pair is carried through every task; the averages and the step count are state."""

    sizes: Tensor
    steps: Tensor

    def __init__(self, site: Site, config: PRILoRAConfig) -> None:
        """Draw the pair."""
        super().__init__(site, config)
        rank = config.rank_at(site.depth)
        self.config, self.scale, self.learning = config, config.alpha / rank, False
        self.pair = Pair(site, rank, "prilora")
        self.register_buffer("sizes", torch.zeros(site.weight.shape[1], device=site.weight.device))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._seen = torch.zeros_like(self.sizes)
        self._gone: Tensor | None = None  # what was cleared since the optimiser was last told

    @staticmethod
    def check(site: Site, config: PRILoRAConfig) -> None:
        """The rank is that of the weight's depth."""
        check_rank(config.rank_at(site.depth), site, "prilora")

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + s x Aᵗ Bᵗ; while an optimiser step is made, the sizes of x are added up."""
        x = x.to(self.pair.A.dtype)
        if self.learning and torch.is_grad_enabled():
            self._seen += x.detach().flatten(0, -2).square().sum(0)
        return (y + self.scale * self.pair(x)).to(y.dtype)

    def before_step(self) -> None:
        """Begin to add up inputs."""
        self.learning = True
        self._seen = torch.zeros_like(self.sizes)

    def sums(self) -> list[Tensor]:
        """The sizes of x."""
        return [self._seen]

    @torch.no_grad()
    def after_step(self, lr: float) -> bool:
        """Take the inputs into the average, and clear the least of A when it is time."""
        self.learning = False
        decay = self.config.decay
        self.sizes.mul_(decay).add_((1.0 - decay) * self._seen.sqrt())
        self.steps += 1
        if int(self.steps) % self.config.every == 0:
            importance = (self.pair.A.abs() * self.sizes).flatten()
            count = int(self.config.share * importance.numel())
            self._gone = torch.zeros_like(self.pair.A, dtype=torch.bool)
            self._gone.view(-1)[importance.argsort(stable=True)[:count]] = True
            self.pair.A.masked_fill_(self._gone, 0.0)
        return False

    def cleared(self) -> Mapping[nn.Parameter, Tensor]:
        """The entries of A that the last clearing took: only gradients bring them back."""
        gone, self._gone = self._gone, None
        return {} if gone is None else {self.pair.A: gone}

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S B A."""
        return self.scale * self.pair.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B, A)."""
        return self.scale * self.pair.B.detach(), self.pair.A.detach()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def begin_task(self, task: int) -> None:
        """The same pair goes on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: PRILoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: PRILoRAConfig, task: int) -> int:
        """None: a weight's rank depends on where it lies; see ``shared_numbers``."""
        return 0

    @staticmethod
    def shared_numbers(
        config: PRILoRAConfig, task: int, shapes: Mapping[str, tuple[int, int]]
    ) -> int:
        """Σ r_l (m + n)."""
        deep = depths(shapes)
        return sum(config.rank_at(deep[name]) * (m + n) for name, (m, n) in shapes.items())


METHOD = Method(
    name="prilora",
    title="PRILoRA",
    paper="Benedek and Wolf 2024, arXiv:2401.11316",
    summary="A LoRA whose rank grows with depth and whose least used entries are cleared.",
    config=PRILoRAConfig,
    adapter=PRILoRA,
    trains="adapters",
    learns="A, B",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r_l (m + n)",
)
