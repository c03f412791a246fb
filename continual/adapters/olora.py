"""O-LoRA: every task learns in directions orthogonal to those of the tasks before it.

    ΔW = s Σ_{k<t} B_k A_k  +  s B_t A_t,   s = α / r
    squared    L = L_task + λ Σ_{k<t} ‖A_k A_tᵗ‖²_F                       the paper's
    published  L = L_task + λ Σ_{k<t} Σ |A_k A_tᵗ| + λ₂ (‖A_t‖_F + ‖B_t‖_F)   its code's

The rows of A_k span the inputs that task k listens to; where A_k A_tᵗ = 0 the new pair does not
read what the old ones read, and ΔW_k ΔW_tᵗ = 0. Past tasks are frozen in one stack, so one product
of all past rows with the r current ones suffices. Shrinking A_t also makes the penalty small;
``normalize`` divides every row by its norm, which takes that way out.
Trained numbers: r (m + n) per weight and task.

Reference: Wang et al. (2023), arXiv:2310.14152, eq. 6-8. PEFT's ``init_lora_weights="olora"`` is
another thing: an orthonormal initialisation (Büyükakyüz 2024).
Deviations: the sum runs over all adapted weights as in the paper, but λ is divided by their number
(``reduction="mean"``), so that it carries over between models. The paper's letter A is the factor
that touches the output; its code and this file regularise the one that touches the input.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import (
    check_choice,
    check_count,
    check_positive,
    check_weight,
    copy_state,
)
from continual.adapters.growing import Growing
from continual.adapters.method import Method
from continual.errors import InputError


@dataclass(frozen=True, kw_only=True)
class OLoRAConfig:
    """Settings of O-LoRA.

    Attributes:
        rank: r, inner size of each task's pair; 8 in the paper.
        alpha: α; every pair is scaled by α / r, 2 by default (32 / 8 in the paper's code).
        lam: λ of the overlap; 0.5 in the paper's code, where it is summed.
        lam_norm: λ₂ of the norms, for the published penalty only; 0 in most of the paper's runs.
        penalty: squared (paper) or published.
        normalize: measure the overlap between rows of unit norm.
        reduction: mean over the adapted layers, or sum (paper).
    """

    rank: int = 8
    alpha: float = 16.0
    lam: float = 0.5
    lam_norm: float = 0.0
    penalty: str = "squared"
    normalize: bool = False
    reduction: str = "mean"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("OLoRAConfig.rank", self.rank)
        check_positive("OLoRAConfig.alpha", self.alpha)
        check_weight("OLoRAConfig.lam", self.lam)
        check_weight("OLoRAConfig.lam_norm", self.lam_norm)
        check_choice("OLoRAConfig.penalty", self.penalty, ("squared", "published"))
        check_choice("OLoRAConfig.reduction", self.reduction, ("mean", "sum"))
        if self.lam_norm > 0.0 and self.penalty != "published":
            raise InputError("OLoRAConfig.lam_norm belongs to penalty 'published'; leave it at 0.")


class OLoRA(Adapter):
    """The frozen sum of the past and one pair that keeps out of its way."""

    def __init__(self, site: Site, config: OLoRAConfig) -> None:
        """Draw the first pair."""
        super().__init__(site, config)
        self.config = config
        self.pairs = Growing(site, config.rank, config.alpha, "olora")
        self.scale = self.pairs.scale
        self.weight = site.share if config.reduction == "mean" else 1.0

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
        """Λ times the overlap with all past pairs, and λ₂ times the norms if published."""
        past, current, config = self.pairs.stack.A, self.pairs.pair.A, self.config
        if config.normalize:
            past, current = normalize(past), normalize(current)
        overlap = past @ current.T
        if config.penalty == "squared":
            return self.weight * config.lam * overlap.square().sum()
        total = config.lam * overlap.abs().sum()
        if config.lam_norm > 0.0:
            total = total + config.lam_norm * (self.pairs.pair.A.norm() + self.pairs.pair.B.norm())
        return self.weight * total

    def begin_task(self, task: int) -> None:
        """The pair that has learned is frozen, and a new one starts from B = 0."""
        self.pairs.begin(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; the stack takes the saved size."""
        self.pairs.fit(tensors, "pairs.")
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: OLoRAConfig, task: int) -> int:
        """R (m + n)."""
        return config.rank * (m + n)


METHOD = Method(
    name="olora",
    title="O-LoRA",
    paper="Wang et al. 2023, arXiv:2310.14152",
    summary="A new pair per task that reads other directions than the earlier ones.",
    config=OLoRAConfig,
    adapter=OLoRA,
    trains="adapters",
    learns="A, B of the task",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (m + n)",
)
