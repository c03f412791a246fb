"""CURLoRA: adapt a frozen weight inside the span of its own weakest columns and rows.

    ΔW = α C U R
    C = W[:, columns] (m, k) fixed,   U (k, l) trained,   R = W[rows, :] (l, n) fixed

Columns and rows are drawn with probability inverse to their energy (squared norm), so that the
change lives where W does least; U starts at zero, so that training starts from the backbone itself.
By the chain rule ∂L/∂U = α Cᵗ (∂L/∂W) Rᵗ. ‖ΔW‖²_F = α² tr(Uᵗ (CᵗC) U (R Rᵗ)) costs O(k l (k + l)).
Trained numbers: k l per weight, r² by default.

Reference: Fawi (2024), arXiv:2408.14572, eq. 3-8.
Deviations: indices are distinct and the weights exactly 1/p (with a floor of 1e-6 of the mean),
where the published code repeats indices and uses 1/(p + 0.001), which for n > 1000 is nearly
uniform; the draw is seeded per layer; C U R is never formed. ``compat="published"`` draws as that
code does: columns, then rows, from one legacy generator per layer. Eq. 11 adds ‖U‖_F to the loss
as an "implicit" term that neither the published code nor this one has; ``lam`` > 0 adds
λ Σ ‖ΔW‖²_F. ``cores="per_task"`` gives every task a U of its own and needs the task at inference.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import (
    check_choice,
    check_count,
    check_positive,
    check_rank,
    check_weight,
    copy_state,
)
from continual.adapters.crossing import NORMALIZE, chosen, normalized
from continual.adapters.slots import Slots
from continual.errors import InputError
from continual.linalg import POLICIES


@dataclass(frozen=True, kw_only=True)
class CURLoRAConfig:
    """Settings of CURLoRA.

    Attributes:
        rank: k, how many columns are kept; 16 in the paper's Mistral runs.
        row_rank: l, how many rows; as many as columns by default.
        alpha: α, scale of the change; not divided by the rank.
        policy: how columns and rows are chosen, see ``continual.linalg.select``.
        normalize: none (paper); unit scales columns and rows to norm 1; qr takes orthonormal bases
            of their spans, so that ‖ΔW‖_F = α ‖U‖_F.
        cores: shared carries one U through all tasks (paper); per_task begins a new one each time.
        lam: λ, weight of Σ ‖ΔW‖²_F over all layers; 0 adds nothing.
        compat: "published" draws columns and rows as the published code does, with repeats.
    """

    rank: int = 16
    row_rank: int | None = None
    alpha: float = 1.0
    policy: str = "inverse_norm"
    normalize: str = "none"
    cores: str = "shared"
    lam: float = 0.0
    compat: str = "none"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("CURLoRAConfig.rank", self.rank)
        if self.row_rank is not None:
            check_count("CURLoRAConfig.row_rank", self.row_rank)
        check_positive("CURLoRAConfig.alpha", self.alpha)
        check_weight("CURLoRAConfig.lam", self.lam)
        check_choice("CURLoRAConfig.policy", self.policy, POLICIES)
        check_choice("CURLoRAConfig.normalize", self.normalize, NORMALIZE)
        check_choice("CURLoRAConfig.cores", self.cores, ("shared", "per_task"))
        check_choice("CURLoRAConfig.compat", self.compat, ("none", "published"))
        if self.compat == "published" and (self.policy, self.normalize) != ("inverse_norm", "none"):
            raise InputError(
                "compat='published' draws as the published code does; leave policy and normalize."
            )


class CURLoRA(Adapter):
    """The state holds the cores and the indices, not C and R."""

    C: Tensor
    R: Tensor
    gram_C: Tensor
    gram_R: Tensor
    columns: Tensor
    rows: Tensor

    def __init__(self, site: Site, config: CURLoRAConfig) -> None:
        """Draw columns and rows of the frozen weight."""
        super().__init__(site, config)
        k = check_rank(config.rank, site, "curlora")
        count = check_rank(config.row_rank or config.rank, site, "curlora")
        self.alpha, self.lam, self.normalize = config.alpha, config.lam, config.normalize
        columns, rows = chosen(site, k, count, config.policy, config.compat)
        self.cores = Slots((k, count), site, per_task=config.cores == "per_task")
        self._take(site.weight, columns, rows)

    def _take(
        self, weight: Float[Tensor, "m n"], columns: Int64[Tensor, " k"], rows: Int64[Tensor, " l"]
    ) -> None:
        """Copy C and R out of the frozen weight, widened to float32 without loss."""
        columns, rows = columns.to(weight.device), rows.to(weight.device)
        self.register_buffer("columns", columns)
        self.register_buffer("rows", rows)
        C = normalized(weight[:, columns].float(), self.normalize)
        R = normalized(weight[rows, :].float().T, self.normalize).T.contiguous()
        for name, tensor in {"C": C, "R": R, "gram_C": C.T @ C, "gram_R": R @ R.T}.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + α x Rᵗ Uᵗ Cᵗ; l n + k l + k m products per input row."""
        U = self.cores.value()
        inner = linear(linear(x.to(U.dtype), self.R), U)
        return (y + self.alpha * linear(inner, self.C)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """α C U R."""
        return self.alpha * (self.C @ self.cores.value() @ self.R)

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(α C U, R)."""
        return self.alpha * (self.C @ self.cores.value().detach()), self.R

    def squared_norm(self) -> Float[Tensor, ""]:
        """‖ΔW‖²_F, exact and differentiable, in O(k l (k + l)) from the Grams of C and R."""
        U = self.cores.value()
        return self.alpha**2 * (U * (self.gram_C @ U @ self.gram_R)).sum()

    def penalty(self) -> Float[Tensor, ""]:
        """λ ‖ΔW‖²_F."""
        return self.C.new_zeros(()) if self.lam == 0.0 else self.lam * self.squared_norm()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """(α C U, R) of every core: one, where all tasks share it."""
        return [(self.alpha * (self.C @ U), self.R) for U in self.cores.every()]

    def begin_task(self, task: int) -> None:
        """The same U goes on learning; with a core per task a new one begins at zero."""
        self.cores.begin(task)

    def serve(self, task: int | None) -> None:
        """Answer with the core of that task, where every task has its own."""
        self.cores.serve(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Cores from the state; C and R from the saved indices and the frozen weight."""
        self.cores.fit(tensors, "cores.")
        copy_state(self, tensors)
        self._take(weight, self.columns, self.rows)

    @staticmethod
    def continues(config: CURLoRAConfig) -> bool:
        """With one core for all tasks."""
        return config.cores == "shared"

    @staticmethod
    def needs_task(config: CURLoRAConfig) -> bool:
        """With a core per task."""
        return config.cores == "per_task"

    @staticmethod
    def trained_numbers(m: int, n: int, config: CURLoRAConfig, task: int) -> int:
        """K l."""
        return config.rank * (config.row_rank or config.rank)
