"""CURLoRA: adapt a frozen weight inside the span of its own weakest columns and rows.

    ΔW = α C U R
    C = W[:, columns] (m, r) fixed,   U (r, r) trained,   R = W[rows, :] (r, n) fixed

Columns and rows are drawn with probability inverse to their energy (squared norm), so that the
change lives where W does least; U starts at zero, so that training starts from the backbone itself.
By the chain rule ∂L/∂U = α Cᵗ (∂L/∂W) Rᵗ.
Trained numbers: r² per weight.

Reference: Fawi (2024), arXiv:2408.14572, eq. 3-8.
Deviations: indices are distinct and the weights exactly 1/p (with a floor of 1e-6 of the mean),
where the published code repeats indices and uses 1/(p + 0.001), which for n > 1000 is nearly
uniform; the draw is seeded per layer; C U R is never formed. Eq. 11 adds ‖U‖_F to the loss as an
"implicit" term; neither the published code nor this one has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import (
    Adapter,
    Site,
    check_count,
    check_positive,
    check_rank,
    copy_state,
    seed_of,
)
from continual.errors import unknown
from continual.linalg import POLICIES, select


@dataclass(frozen=True, kw_only=True)
class CURLoRAConfig:
    """Settings of CURLoRA.

    Attributes:
        rank: r, how many columns and rows are kept; 16 in the paper's Mistral runs.
        alpha: α, scale of the change; not divided by r.
        policy: how columns and rows are chosen, see ``continual.linalg.select``.
    """

    rank: int = 16
    alpha: float = 1.0
    policy: str = "inverse_norm"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("CURLoRAConfig.rank", self.rank)
        check_positive("CURLoRAConfig.alpha", self.alpha)
        if self.policy not in POLICIES:
            raise unknown("CURLoRAConfig.policy", self.policy, POLICIES)


class CURLoRA(Adapter):
    """One U is carried through every task. The state holds U and the indices, not C and R."""

    C: Tensor
    R: Tensor
    columns: Tensor
    rows: Tensor

    def __init__(self, site: Site, config: CURLoRAConfig) -> None:
        """Draw columns and rows of the frozen weight."""
        super().__init__(site, config)
        rank = check_rank(config.rank, site, "curlora")
        weight, policy = site.weight, config.policy
        columns = select(weight, rank, axis=1, policy=policy, seed=seed_of(site.seed, "columns"))
        rows = select(weight, rank, axis=0, policy=policy, seed=seed_of(site.seed, "rows"))
        self.alpha = config.alpha
        self.U = nn.Parameter(torch.zeros(rank, rank, device=weight.device))
        self._take(weight, torch.from_numpy(columns), torch.from_numpy(rows))

    def _take(
        self, weight: Float[Tensor, "m n"], columns: Int64[Tensor, " r"], rows: Int64[Tensor, " r"]
    ) -> None:
        """Copy C and R out of the frozen weight, widened to float32 without loss."""
        columns, rows = columns.to(weight.device), rows.to(weight.device)
        self.register_buffer("columns", columns)
        self.register_buffer("rows", rows)
        self.register_buffer("C", weight[:, columns].float(), persistent=False)
        self.register_buffer("R", weight[rows, :].float(), persistent=False)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + α x Rᵗ Uᵗ Cᵗ; r (m + n) + r² products per input row."""
        inner = linear(linear(x.to(self.U.dtype), self.R), self.U)
        return (y + self.alpha * linear(inner, self.C)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """α C U R."""
        return self.alpha * (self.C @ self.U @ self.R)

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(α C U, R)."""
        return self.alpha * (self.C @ self.U.detach()), self.R

    def penalty(self) -> Float[Tensor, ""]:
        """None."""
        return self.U.new_zeros(())

    def begin_task(self, task: int) -> None:
        """The same U goes on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """U from the state; C and R from the saved indices and the frozen weight."""
        copy_state(self, tensors)
        self._take(weight, self.columns, self.rows)

    @staticmethod
    def trained_numbers(m: int, n: int, config: CURLoRAConfig, task: int) -> int:
        """r²."""
        return config.rank**2
