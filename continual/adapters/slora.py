"""S-LoRA, that is SD-LoRA (scalable decoupled LoRA); not the serving system of the same name.

    ΔW = Σ_{k<t} α_k D_k  +  α_t B_t A_t,   D_k = B_k A_k / ‖B_k A_k‖_F

Directions D_k of past tasks are frozen; all their magnitudes α_1 … α_t go on learning, so that
later tasks re-use early directions. The current pair is trained unnormalised under its own
magnitude, 0.8 at first. When the next task begins, α_k := α_t ‖B_t A_t‖_F: the function does not
change. A pair that learned nothing (B_t A_t = 0) keeps a place with α_k = 0 and D_k = 0.
Trained numbers: r (m + n) + t magnitudes per weight during the t-th task.

    RR  ``ranks=((0, 10), (4, 8), (8, 6))`` gives later tasks smaller pairs
    KD  ``fold=τ``: a new direction with ‖D_t − Σ_k c_k D_k‖_F ≤ τ ‖D_t‖_F is dropped, and
        α_t ‖B_t A_t‖_F c_k is added to the old magnitudes, with the c_k of least squares. The
        function then changes by at most τ α_t ‖B_t A_t‖_F. All of it comes from the factors.

Reference: Wu et al. (2025), arXiv:2501.13198 (version 1 calls it S-LoRA).
Deviations from the published code: one magnitude per layer and task; its one for the whole network
is ``magnitudes="shared"``. Division by ‖B A‖_F as in the paper; its ‖B‖_F ‖A‖_F is
``normalize="factors"``. Magnitudes continue at a task boundary; its restart of all of them, which
changes the function, is ``boundary="restart"``. The paper gives no τ.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import (
    check_choice,
    check_count,
    check_positive,
    check_rank,
    check_weight,
    copy_state,
)
from continual.adapters.directions import Directions
from continual.adapters.magnitudes import Magnitudes
from continual.adapters.pair import Pair
from continual.errors import InputError
from continual.linalg import gram_norm


@dataclass(frozen=True, kw_only=True)
class SLoRAConfig:
    """Settings of S-LoRA.

    Attributes:
        rank: r, inner size of each task's pair; 10 in the published runs, 8 here so that its
            budget is that of the other methods.
        magnitude: α_t of a new pair, 0.8 in the published code.
        magnitudes: layer has one per task and layer, shared one per task (published code).
        normalize: product divides by ‖B A‖_F (paper), factors by ‖B‖_F ‖A‖_F (published code).
        boundary: continue keeps the function when a task begins; restart sets every magnitude to
            ``magnitude`` (published code).
        ranks: RR: pairs (first task, rank) that replace ``rank`` from that task on.
        fold: KD: τ, the relative residual up to which a direction is folded; None keeps all.
    """

    rank: int = 8
    magnitude: float = 0.8
    magnitudes: str = "layer"
    normalize: str = "product"
    boundary: str = "continue"
    ranks: tuple[tuple[int, int], ...] = ()
    fold: float | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("SLoRAConfig.rank", self.rank)
        check_positive("SLoRAConfig.magnitude", self.magnitude)
        check_choice("SLoRAConfig.magnitudes", self.magnitudes, ("layer", "shared"))
        check_choice("SLoRAConfig.normalize", self.normalize, ("product", "factors"))
        check_choice("SLoRAConfig.boundary", self.boundary, ("continue", "restart"))
        for first, rank in self.ranks:
            check_count("first task of SLoRAConfig.ranks", first, least=0)
            check_count("rank of SLoRAConfig.ranks", rank)
        firsts = [first for first, _ in self.ranks]
        if firsts != sorted(set(firsts)):
            raise InputError(f"SLoRAConfig.ranks must rise by first task; got {self.ranks!r}.")
        if self.fold is not None:
            check_weight("SLoRAConfig.fold", self.fold)
        if self.boundary == "restart" and self.fold is not None:
            raise InputError("fold keeps magnitudes and boundary='restart' resets them; give one.")
        if self.magnitudes == "shared" and self.boundary == "continue":
            raise InputError(
                "shared magnitudes cannot keep the function of every layer at a task boundary; "
                "give boundary='restart' with them."
            )

    def rank_of(self, task: int) -> int:
        """Return the rank of a task's pair."""
        return next((rank for first, rank in reversed(self.ranks) if first <= task), self.rank)


class SLoRA(Adapter):
    """Frozen unit directions, one vector of magnitudes that all learn, one pair that learns."""

    def __init__(self, site: Site, config: SLoRAConfig) -> None:
        """Draw the first pair; no direction is known yet."""
        super().__init__(site, config)
        for rank in (config.rank, *dict(config.ranks).values()):
            check_rank(rank, site, "slora")  # of later tasks too, before anything is trained
        self.site, self.config = site, config
        self.directions = Directions(site)
        self.pair = Pair(site, config.rank_of(0), "slora")
        device = site.weight.device
        if config.magnitudes == "shared":
            self.magnitudes = site.shared.once(
                "slora.magnitudes", lambda: Magnitudes(config.magnitude, device)
            )
        else:
            self.magnitudes = Magnitudes(config.magnitude, device)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x (Σ α_k D_k + α_t B_t A_t)ᵗ; two pairs of products however many tasks there were."""
        x, magnitudes = x.to(self.pair.A.dtype), self.magnitudes.values
        current = magnitudes[-1] * self.pair(x)
        return (y + self.directions(x, magnitudes[:-1]) + current).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """Σ α_k D_k + α_t B_t A_t."""
        B, A = self.directions.scaled(self.magnitudes.values[:-1])
        return B @ A + self.magnitudes.values[-1] * self.pair.product()

    @torch.no_grad()
    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """All directions side by side with their magnitudes folded in."""
        B, A = self.directions.scaled(self.magnitudes.values[:-1])
        current = self.magnitudes.values[-1] * self.pair.B
        return torch.cat([B, current], dim=1), torch.cat([A, self.pair.A])

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """(α_k D_k) of every direction as factors, and the pair that learns."""
        B, A = self.factors()
        ranks = [*self.directions.ranks.tolist(), self.pair.A.shape[0]]
        return list(zip(B.split(ranks, dim=1), A.split(ranks), strict=True))

    def pair_scale(self) -> float:
        """α_t of the pair that learns, as it is now."""
        return float(self.magnitudes.values[-1].detach())

    @torch.no_grad()
    def begin_task(self, task: int) -> None:
        """Freeze the learned direction at unit norm, or fold it into the old ones."""
        if task == 0:
            return
        B, A, config = self.pair.B, self.pair.A, self.config
        norm = gram_norm(B, A) if config.normalize == "product" else float(B.norm() * A.norm())
        unit = B / norm if norm > 0.0 else torch.zeros_like(B)
        if not self._folded(unit, A, norm):
            self.directions.append(unit, A)
            self.magnitudes.grow(task, norm, restart=config.boundary == "restart")
        if config.rank_of(task) != A.shape[0]:
            self.pair = Pair(self.site, config.rank_of(task), "slora")
        self.pair.draw(task)

    def _folded(self, B: Float[Tensor, "m r"], A: Float[Tensor, "r n"], norm: float) -> bool:
        """Add B A to the old directions, if they make it up within τ; say whether they did."""
        if self.config.fold is None:
            return False
        share, left = self.directions.coefficients(B, A)
        if left <= self.config.fold:
            self.magnitudes.fold(share * norm)
        return left <= self.config.fold

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state; directions, pair and magnitudes take the saved size."""
        self.directions.fit(tensors, "directions.")
        self.magnitudes.fit(tensors["magnitudes.values"])
        rank = tensors["pair.A"].shape[0]
        if rank in {self.config.rank, *dict(self.config.ranks).values()}:
            self.pair = Pair(self.site, rank, "slora")
        copy_state(self, tensors)

    @staticmethod
    def trained_numbers(m: int, n: int, config: SLoRAConfig, task: int) -> int:
        """R (m + n) + t, with t = task + 1 magnitudes, fewer where directions were folded.

        Shared magnitudes are counted once per model.
        """
        own = config.rank_of(task) * (m + n)
        return own if config.magnitudes == "shared" else own + task + 1

    @staticmethod
    def shared_numbers(
        config: SLoRAConfig, task: int, shapes: Mapping[str, tuple[int, int]]
    ) -> int:
        """The t magnitudes, where all layers share them."""
        return task + 1 if config.magnitudes == "shared" else 0
