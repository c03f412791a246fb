"""EVA: LoRA whose A starts at the leading directions of the layer's own inputs on the task.

    ΔW = s Σ_{k<t} B_k A_k + s B_t A_t,   s = α / r
    A_t the top right singular vectors of inputs X of this weight,   B_t from zero

Before a task is learned, ``examples`` of it pass through the network as it then is, and every
weight sees its inputs, padding included; see ``inputs``. With ``per_task`` the pair of the past
moves into a frozen stack when the next task begins, so the function stays, and A is found anew;
without, only task 0 is looked at and one pair goes on through all tasks. An adapter that is shown
nothing, or too few directions, draws the missing rows of A as LoRA does.

With ρ > 1 ranks are divided by what directions hold: a weight gets one, and a share of the others,
up to ρ r; their sum stays r times the number of weights, as does s. How many numbers learn at one
weight is then known only after the look; over weights of one shape the sum stays the same.
Trained numbers: r (m + n) per weight with ρ = 1.

Reference: Paischer et al. (2024), arXiv:2410.07170.
Deviations: inputs are not centred, where PEFT subtracts their mean; no weight is left without a
rank; a fixed number of examples instead of a test of convergence; ρ = 1 by default, 2 in PEFT.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, check_rank, copy_state
from continual.adapters.growing import Growing
from continual.adapters.inputs import Directions, Shares
from continual.adapters.method import Method
from continual.adapters.pair import Pair
from continual.errors import InputError


@dataclass(frozen=True, kw_only=True)
class EVAConfig:
    """Settings of EVA.

    Attributes:
        rank: r, inner size of a pair, on average over the weights.
        alpha: α; every pair is scaled by α / r, 2 by default.
        rho: ρ, a weight's rank is at most ρ r; 1 gives all of them r.
        examples: how many examples of a task are looked at.
        per_task: look again and begin a new pair at every task; False: at task 0 only.
    """

    rank: int = 8
    alpha: float = 16.0
    rho: float = 1.0
    examples: int = 64
    per_task: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("EVAConfig.rank", self.rank)
        check_positive("EVAConfig.alpha", self.alpha)
        check_positive("EVAConfig.rho", self.rho)
        check_count("EVAConfig.examples", self.examples)
        if self.rho < 1.0:
            raise InputError(f"EVAConfig.rho must be at least 1; got {self.rho!r}.")


class EVA(Adapter):
    """The frozen past, the pair that learns, and whether it may still be shown inputs."""

    ranks: Tensor

    def __init__(self, site: Site, config: EVAConfig) -> None:
        """Draw the first pair; it waits for inputs."""
        super().__init__(site, config)
        check_rank(config.rank, site, "eva")
        self.config, self.site = config, site
        self.most = min(math.ceil(config.rho * config.rank), *site.weight.shape)
        self.pairs = Growing(site, config.rank, config.alpha, "eva")
        self.scale = self.pairs.scale
        self.register_buffer("ranks", torch.zeros(0, dtype=torch.int64))  # of past pairs
        self.shares = site.shared.once("eva.shares", Shares)
        self.task = 0
        self.seen: Directions | None = None  # what was shown since the task began

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x Σ_k (s B_k A_k)ᵗ; two pairs of products however many tasks there were."""
        return self.pairs(x, y)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S Σ_k B_k A_k."""
        return self.pairs.product()

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """All pairs side by side."""
        return self.pairs.factors()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """(s B_k, A_k) of every task; one pair where all tasks share it."""
        B, A = self.factors()
        ranks = [*self.ranks.tolist(), len(self.pairs.pair.A)]
        return list(zip(B.split(ranks, dim=1), A.split(ranks), strict=True))

    def begin_task(self, task: int) -> None:
        """Freeze the pair and wait for inputs of the task; without ``per_task``, go on."""
        if task > 0 and not self.config.per_task:
            return
        if task > 0:
            self.ranks = torch.cat([self.ranks, self.ranks.new_tensor([len(self.pairs.pair.A)])])
            self.pairs.begin(task)
            self._resize(self.config.rank, task)
        self.task, self.seen = task, Directions(2 * self.most, self.site.weight.shape[1])

    def _resize(self, rank: int, task: int) -> None:
        """Put a fresh pair of this rank in the place of one of another."""
        if rank != len(self.pairs.pair.A):
            self.pairs.pair = Pair(self.site, rank, "eva")
            self.pairs.pair.draw(task)

    def look(self, x: Float[Tensor, "*batch n"]) -> None:
        """Let the rows of x into the directions, unless the pair is learning already."""
        if self.seen is not None:
            self.seen.see(x)
            self.shares.tell(self.site.name, self.seen.shares(self.most))

    @torch.no_grad()
    def settle(self) -> None:
        """Start A from the directions seen."""
        seen, self.seen = self.seen, None
        if seen is None or not seen.count:
            return
        if self.config.rho > 1.0:
            self._resize(self.shares.rank(self.site.name, self.config.rank), self.task)
        found = seen.leading(len(self.pairs.pair.A))
        self.pairs.pair.A[: len(found)] = found.to(self.pairs.pair.A)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; past and pair take the saved size."""
        self.ranks = self.ranks.new_zeros(tensors["ranks"].shape)
        self.pairs.fit(tensors, "pairs.")
        if 1 <= len(tensors["pairs.pair.A"]) <= self.most:
            self._resize(len(tensors["pairs.pair.A"]), 0)
        copy_state(self, tensors)
        self.seen = None

    @staticmethod
    def continues(config: EVAConfig) -> bool:
        """With one pair for all tasks."""
        return not config.per_task

    @staticmethod
    def looks_at(config: EVAConfig) -> int:
        """``examples`` of every task; of later ones they change nothing without ``per_task``."""
        return config.examples

    @staticmethod
    def trained_numbers(m: int, n: int, config: EVAConfig, task: int) -> int:
        """R (m + n), exactly with ρ = 1 and before the look."""
        return config.rank * (m + n)


METHOD = Method(
    name="eva",
    title="EVA",
    paper="Paischer et al. 2024, arXiv:2410.07170",
    summary="A new pair per task that begins by reading what the layer's inputs are made of.",
    config=EVAConfig,
    adapter=EVA,
    trains="adapters",
    learns="A, B of the task",
    learning_rate=0.001,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
)
