"""QDoTA: DoTA on a residual in 4 bits.

    y = x (NF4(W − M(T⁰)) + M(T⁰ + D))ᵗ + b,   D from zero
    ΔW = NF4(W − M(T⁰)) + M(T⁰ + D) − W

T⁰ is the truncated tensor train of W as in DoTA; its cores stay in float32 and take the large
directions out before the rest is rounded to 4 bits, so that the error is smaller than that of W in
4 bits. Trained numbers: as DoTA.

Reference: Hu et al. (2024), arXiv:2412.20891; NF4: see ``nf4``.
Deviations: cores in float32, not bfloat16; one product with the dequantised sum instead of two; D
apart from T⁰, so that weight decay draws towards T⁰. The adapter computes the layer's whole output,
but the original weight stays in memory, for ``disabled()`` and for ΔW, so nothing is saved there:
what this shows is how a change learns and forgets on a base in 4 bits. A fresh adapter changes the
function by the error of quantisation.
"""

from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_rank, copy_state
from continual.adapters.dota import DoTAConfig
from continual.adapters.method import Method
from continual.adapters.mpo import Moved, dense, numbers
from continual.adapters.nf4 import dequantised, quantised


class QDoTA(Adapter):
    """One set of offsets is carried through every task."""

    holds_base: ClassVar[bool] = True
    codes: Tensor
    scales: Tensor

    def __init__(self, site: Site, config: DoTAConfig) -> None:
        """Decompose the weight and quantise what the cores leave."""
        super().__init__(site, config)
        rank = check_rank(config.rank, site, "qdota")
        self.weight = site.weight
        self.moved = Moved(site, rank, config.cores, config.split)
        codes, scales = quantised(site.weight.float() - dense(self.moved.start()))
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)

    def effective(self) -> Float[Tensor, "m n"]:
        """NF4(W − M(T⁰)) + M(T⁰ + D), which takes the place of W."""
        residual = dequantised(self.codes, self.scales, self.weight.shape)
        return residual + dense(self.moved.now())

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x (W + ΔW)ᵗ, where y is the bias alone; N products."""
        return (y + linear(x.to(self.scales.dtype), self.effective())).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """NF4(W − M(T⁰)) + M(T⁰ + D) − W: what was learned and the error of quantisation."""
        return self.effective() - self.weight.float()

    def factors(self) -> None:
        """None: the rank is full."""

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """Nothing: all tasks share one change, which has no factors."""
        return []

    def begin_task(self, task: int) -> None:
        """The same offsets go on learning."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state, the start and the codes included."""
        copy_state(self, tensors)
        self.weight = weight

    @staticmethod
    def continues(config: DoTAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: DoTAConfig, task: int) -> int:
        """Σ d_{k-1} i_k j_k d_k."""
        return numbers(m, n, config.rank, config.cores)


METHOD = Method(
    name="qdota",
    title="QDoTA",
    paper="Hu et al. 2024, arXiv:2412.20891",
    summary="DoTA on a base in 4 bits: what the tensor train leaves of the weight is quantised.",
    config=DoTAConfig,
    adapter=QDoTA,
    trains="adapters",
    learns="D, the offsets of the cores",
    learning_rate=0.003,
    control=False,
    lora_export=False,
    trained_numbers="Σ d i j d' of the cores",
    identity=0.2,
)
