"""LoRTA: the changes of all weights of one shape are slices of one CP tensor.

    ΔW_{l,k}[(h, i), j] = s Σ_ρ B[i, ρ] A[ρ, j] c^H[h, ρ] c^L[l, ρ] c^M[k, ρ],   s = α / r

A (r, n) reads and B (d, r) writes for every layer l, kind of weight k (query, value, …) and head h,
whose d outputs lie side by side; c^H, c^L, c^M say how much of each of the r terms goes where. B is
zero at first. One tensor is carried through every task; ΔW has rank r.
Trained numbers, for all weights of one shape together: r (n + m + L + M) with L layers and M kinds;
with ``head_size`` d, d + m / d in the place of m.

Reference: Hounie et al. (2024), arXiv:2410.04060, as published (ihounie/lorta at fa13dcb).
Deviations: weights of different shapes belong to different tensors; a layer is what lies before the
first number in a weight's path, that included, its kind what lies behind. Without ``head_size`` B
has m rows and there is no c^H.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_count, check_positive, check_rank, copy_state
from continual.adapters.cp import drawn
from continual.adapters.depth import in_block
from continual.adapters.method import Method
from continual.errors import InputError

Shapes = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, kw_only=True)
class LoRTAConfig:
    """Settings of LoRTA.

    Attributes:
        rank: r, terms of the CP tensor.
        alpha: α; the change is scaled by α / r, 1 by default.
        head_size: d, outputs of a head, a divisor of every m; None: outputs are not split.
    """

    rank: int = 16
    alpha: float = 16.0
    head_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("LoRTAConfig.rank", self.rank)
        check_positive("LoRTAConfig.alpha", self.alpha)
        if self.head_size is not None:
            check_count("LoRTAConfig.head_size", self.head_size)

    def heads(self, name: str, m: int) -> int:
        """Return how many heads a weight of m outputs has; 0 where they are not told apart."""
        if self.head_size is None:
            return 0
        if m % (d := self.head_size):
            raise InputError(
                f"lorta with head_size {d} does not fit layer {name!r}, which has {m} outputs. "
                "Give a divisor or choose other targets."
            )
        return m // self.head_size


class LoRTA(Adapter):
    """A view of one weight into a tensor that all weights of its shape share."""

    def __init__(self, site: Site, config: LoRTAConfig) -> None:
        """Take the factors of this shape, layer and kind, drawn by the first weight that asks."""
        super().__init__(site, config)
        (m, n), rank = site.weight.shape, check_rank(config.rank, site, "lorta")
        heads, (layer, kind) = config.heads(site.name, m), in_block(site.name)
        self.scale = config.alpha / rank
        ends = {"A": (rank, n), "B": (m // (heads or 1), rank)}
        ends |= {"heads": (heads, rank)} if heads else {}
        once, tensor = site.shared.once, f"lorta {m} {n}"
        self.ends = once(tensor, lambda: drawn(site, ends))
        self.layer = once(f"{tensor} at {layer}", lambda: drawn(site, {"layer": (rank,)}))
        self.kind = once(f"{tensor} of {kind}", lambda: drawn(site, {"kind": (rank,)}))

    def pair(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B c, A): the slice of this weight as factors, differentiable."""
        B = self.ends["B"] * (self.scale * self.layer["layer"] * self.kind["kind"])
        if "heads" in self.ends:
            B = (self.ends["heads"][:, None] * B).reshape(-1, B.shape[1])
        return B, self.ends["A"]

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x Aᵗ (s B c)ᵗ."""
        B, A = self.pair()
        return (y + linear(linear(x.to(A.dtype), A), B)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """The slice of this weight, dense."""
        B, A = self.pair()
        return B @ A

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(s B c, A)."""
        B, A = self.pair()
        return B.detach(), A.detach()

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def begin_task(self, task: int) -> None:
        """The same tensor goes on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: LoRTAConfig) -> bool:
        """It does."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: LoRTAConfig, task: int) -> int:
        """None of its own."""
        return 0

    @staticmethod
    def shared_numbers(config: LoRTAConfig, task: int, shapes: Shapes) -> int:
        """Σ r (n + m + L + M) over the shapes (m, n); with heads d + m / d instead of m."""
        total = 0
        for m, n in set(shapes.values()):
            names = [name for name, shape in shapes.items() if shape == (m, n)]
            layers, kinds = (len(set(part)) for part in zip(*map(in_block, names), strict=True))
            heads = config.heads(names[0], m)
            total += config.rank * (n + m // (heads or 1) + heads + layers + kinds)
        return total


METHOD = Method(
    name="lorta",
    title="LoRTA",
    paper="Hounie et al. 2024, arXiv:2410.04060",
    summary="The changes of all layers are slices of one low-rank tensor that they share.",
    config=LoRTAConfig,
    adapter=LoRTA,
    trains="adapters",
    learns="A, B and the shares of heads, layers and kinds",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r (n + m + L + M) per shape",
)
