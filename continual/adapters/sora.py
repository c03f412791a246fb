"""SoRA (sparse low-rank adaptation): a LoRA whose ranks pass gates that learn to close.

    ΔW = s B diag(g) A,   s = α / r;   B from zero, A as LoRA, g (r,) from N(0, 1)
    after every step   g ← soft(g, η ξ),   soft(v, t) = sign(v) max(|v| − t, 0)

with η the learning rate of the step.
The proximal step of ξ ‖g‖₁ brings gates to exactly zero, where a penalty would only make them
small. A rank whose gate is zero is no part of the change: ``factors`` leaves it out, so what is
exported and served shrinks. A gate that the loss still wants can open again while training lasts.
Trained numbers: r (m + n + 1) per weight.

Reference: Ding et al. (2023), arXiv:2311.11696.
Deviations: the published script thresholds by ξ alone, whatever the learning rate
(``compat="published"``); its ξ of 3e-4 at a rate of 8e-4 is the default ξ of 0.375 here. Its
trainer's additional ℓ1 loss and its schedule of growing ξ are left out. Weight decay acts on g as
on all numbers. Moments of closed gates are kept, as in the published optimiser:
every step has its threshold, so a gate opens again only where mean gradients outweigh it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear, softshrink

from continual.adapters.base import Adapter, Site, seed_of
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

XI = {"none": 0.375, "published": 3e-4}


@dataclass(frozen=True, kw_only=True)
class SoRAConfig:
    """Settings of SoRA.

    Attributes:
        rank: r, how many ranks there are at first; 8 in the paper.
        alpha: α; the change is scaled by α / r, 2 by default and in the published code.
        xi: ξ, strength of the thresholding; left out, 0.375, or 3e-4 with ``compat``. Below 1
            without ``compat``: a step of AdamW moves a gate by about the learning rate, and a
            threshold of that size would close all gates.
        compat: "published" thresholds by ξ instead of learning rate × ξ.
    """

    rank: int = 8
    alpha: float = 16.0
    xi: float | None = None
    compat: str = "none"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("SoRAConfig.rank", self.rank)
        check_positive("SoRAConfig.alpha", self.alpha)
        check_choice("SoRAConfig.compat", self.compat, ("none", "published"))
        check_weight("SoRAConfig.xi", self.strength)
        if self.compat == "none" and self.strength >= 1.0:
            raise InputError(
                "SoRAConfig.xi is multiplied by the learning rate and must be below 1, or all "
                f"gates close; got {self.xi!r}."
            )

    @property
    def strength(self) -> float:
        """ξ, or its default."""
        return XI[self.compat] if self.xi is None else self.xi


class SoRA(Adapter):
    """One gated pair is carried through every task."""

    plain_pairs = False

    def __init__(self, site: Site, config: SoRAConfig) -> None:
        """Draw the pair and its gates."""
        super().__init__(site, config)
        self.config, self.scale = config, config.alpha / config.rank
        self.pair = Pair(site, config.rank, "sora")
        generator = torch.Generator("cpu").manual_seed(seed_of(site.seed, "gates", 0))
        drawn = torch.randn(config.rank, generator=generator, dtype=torch.float32)
        self.gates = nn.Parameter(drawn.to(site.weight.device))

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + s x Aᵗ diag(g) Bᵗ."""
        inner = linear(x.to(self.pair.A.dtype), self.pair.A) * self.gates
        return (y + self.scale * linear(inner, self.pair.B)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """S B diag(g) A."""
        return self.scale * (self.pair.B * self.gates) @ self.pair.A

    @torch.no_grad()
    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B diag(g), A) of the open gates; one column of zeros if all are closed."""
        open_ = self.gates.nonzero()[:, 0]
        open_ = open_ if len(open_) else open_.new_zeros(1)
        return self.scale * (self.pair.B * self.gates)[:, open_], self.pair.A[open_]

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    @torch.no_grad()
    def after_step(self, lr: float) -> bool:
        """Soft-threshold the gates; the moments stay."""
        rate = 1.0 if self.config.compat == "published" else lr
        self.gates.copy_(softshrink(self.gates, rate * self.config.strength))
        return False

    def begin_task(self, task: int) -> None:
        """The same pair and gates go on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: SoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: SoRAConfig, task: int) -> int:
        """R (m + n + 1)."""
        return config.rank * (m + n + 1)


METHOD = Method(
    name="sora",
    title="SoRA",
    paper="Ding et al. 2023, arXiv:2311.11696",
    summary="A LoRA whose ranks pass gates that learn to close, so that it finds its own rank.",
    config=SoRAConfig,
    adapter=SoRA,
    trains="adapters",
    learns="A, B, g",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n + 1)",
)
