"""DoTA: train the weight's own tensor train, and add how far it has moved.

    ΔW = M(T⁰ + D) − M(T⁰),   M(T)[(i_1 … i_N), (j_1 … j_N)] = T_1[i_1, j_1] … T_N[i_N, j_N]
    T⁰: the tensor train of W, cut to ranks of at most R;   D from zero

A change of few numbers that in general has full matrix rank, along the directions in which the
weight itself is large when read as a tensor. One D is carried through every task.
Trained numbers: Σ d_{k-1} i_k j_k d_k per weight, see ``mpo``; (16, 16, 16)² at R = 8: 20,480.

Reference: Hu et al. (2024), arXiv:2412.20891; no code of the authors is known. TT-SVD: Oseledets
(2011), algorithm 1.
Deviations: the paper trains T = T⁰ + D beside the frozen residual W − M(T⁰). Here the frozen
layer stays W and the change is the difference, so that the identity is exact, nothing is rounded
twice, and weight decay draws T towards T⁰ instead of erasing W; gradients are the same. Which side
the paper gives the singular values is not known, and neither are its digits: see ``split`` and
``cores``. T⁰ is in the state, because singular vectors differ between machines.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_choice, check_count, check_rank, copy_state
from continual.adapters.method import Method
from continual.adapters.mpo import SPLITS, Moved, apply, check_digits, dense, numbers


@dataclass(frozen=True, kw_only=True)
class DoTAConfig:
    """Settings of DoTA and QDoTA.

    Attributes:
        rank: R, largest rank between two cores.
        cores: N, into how many digits m and n are split; 2, 3 or 4.
        split: where singular values go: "right" into the last core, "balanced" to both sides.
    """

    rank: int = 8
    cores: int = 3
    split: str = "right"

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("DoTAConfig.rank", self.rank)
        check_digits("DoTAConfig.cores", self.cores)
        check_choice("DoTAConfig.split", self.split, SPLITS)


class DoTA(Adapter):
    """One set of offsets is carried through every task."""

    def __init__(self, site: Site, config: DoTAConfig) -> None:
        """Decompose the weight."""
        super().__init__(site, config)
        rank = check_rank(config.rank, site, "dota")
        self.moved = Moved(site, rank, config.cores, config.split)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x ΔWᵗ; N products where ΔW is formed, as many where it is not."""
        change = self.moved.change()
        return (y + apply(change, x.to(change[0].dtype))).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """M(T⁰ + D) − M(T⁰)."""
        return dense(self.moved.change())

    def factors(self) -> None:
        """None: the rank is full in general."""

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """Nothing: all tasks share one change, which has no factors."""
        return []

    def begin_task(self, task: int) -> None:
        """The same offsets go on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state, the start included."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: DoTAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: DoTAConfig, task: int) -> int:
        """Σ d_{k-1} i_k j_k d_k."""
        return numbers(m, n, config.rank, config.cores)


METHOD = Method(
    name="dota",
    title="DoTA",
    paper="Hu et al. 2024, arXiv:2412.20891",
    summary="The weight's own truncated tensor train learns; what counts is how far it has moved.",
    config=DoTAConfig,
    adapter=DoTA,
    trains="adapters",
    learns="D, the offsets of the cores",
    learning_rate=0.003,
    control=False,
    lora_export=False,
    trained_numbers="Σ d i j d' of the cores",
)
