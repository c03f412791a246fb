"""PiCa: learn inside the principal input directions of the frozen weight, shared among layers.

    ΔW_i = M_f P_i,   P_i (r, n) frozen: the top r right singular vectors of W_i
                      M_f (m, r) trained, from zero: one for all layers i of a group f

A group is the layers whose path ends in the same name and whose weights have the same number of
outputs, such as all ``q_proj``. The paper's "column space of W" is that of y = x W; of torch's W it
is the row space, so P is at the input. By the chain rule ∂L/∂M_f = Σ_i (∂L/∂W_i) P_iᵗ, which is the
paper's projected gradient.
Trained numbers: r m per group, or r m per weight where nothing is shared.

Reference: Hwang, Cho and Kim (2025), arXiv:2505.20211; layout and groups as in its code.
Deviations: P is saved with M, because another LAPACK would rebuild other signs; the largest entry
of every direction is positive. Bottom directions have the smallest of the min(m, n) singular
values; a null space is left alone. M is float32 whatever the backbone's dtype.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site, seed_of
from continual.adapters.bases import orthonormal
from continual.adapters.checks import check_choice, check_count, check_rank, copy_state
from continual.adapters.method import Method
from continual.linalg import prepare, svd
from continual.linalg.svd import converged


@dataclass(frozen=True, kw_only=True)
class PiCaConfig:
    """Settings of PiCa.

    Attributes:
        rank: r, directions of every weight that are open; 32 to 256 in the paper.
        which: top singular directions (paper), bottom, or random orthonormal ones.
        shared: one M for all layers of a group (paper), or one per layer.
    """

    rank: int = 32
    which: str = "top"
    shared: bool = True

    def __post_init__(self) -> None:
        """Refuse impossible values."""
        check_count("PiCaConfig.rank", self.rank)
        check_choice("PiCaConfig.which", self.which, ("top", "bottom", "random"))


def group_of(name: str, outputs: int) -> str:
    """Return the group of a layer: the last part of its path, and its number of outputs."""
    return f"{name.rsplit('.', 1)[-1]} ({outputs})"


def input_directions(site: Site, rank: int, which: str) -> Float[Tensor, "r n"]:
    """Return r orthonormal rows, the largest entry of each positive."""
    if which == "random":
        P = orthonormal(site.weight.shape[1], rank, seed_of(site.seed, "pica", 0)).T
    else:
        operand = prepare(site.weight)
        count = operand.smaller if which == "bottom" else rank
        found = svd(operand, count, method=converged(operand, count), diagnose=False)
        P = torch.from_numpy(found.Vt[-rank:].copy()).float()
    largest = P.gather(1, P.abs().argmax(dim=1, keepdim=True))
    return (P * torch.where(largest < 0.0, -1.0, 1.0)).contiguous().to(site.weight.device)


class Outputs(nn.Module):
    """M (m, r), of one layer or of a group."""

    def __init__(self, outputs: int, rank: int, device: torch.device) -> None:
        """Begin at zero."""
        super().__init__()
        self.M = nn.Parameter(torch.zeros(outputs, rank, device=device))


class PiCa(Adapter):
    """One M goes on learning through every task; P stays that of the pretrained weight."""

    P: Tensor

    def __init__(self, site: Site, config: PiCaConfig) -> None:
        """Find the directions of this weight, and the M of its group."""
        super().__init__(site, config)
        m, rank = site.weight.shape[0], check_rank(config.rank, site, "pica")
        make, group = partial(Outputs, m, rank, site.weight.device), group_of(site.name, m)
        self.outputs = site.shared.once(f"pica.{group}", make) if config.shared else make()
        self.register_buffer("P", input_directions(site, rank, config.which))

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x Pᵗ Mᵗ."""
        return (y + linear(linear(x.to(self.P.dtype), self.P), self.outputs.M)).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """M P."""
        return self.outputs.M @ self.P

    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
        """(M, P) of this layer, tied to no other."""
        return self.outputs.M.detach().clone(), self.P

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """One pair: all tasks share it."""
        return [self.factors()]

    def begin_task(self, task: int) -> None:
        """The same M goes on learning, in the directions of the pretrained weight."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Everything is in the state, the directions too."""
        copy_state(self, tensors)

    @staticmethod
    def continues(config: PiCaConfig) -> bool:
        """It does."""
        return True

    @staticmethod
    def trained_numbers(m: int, n: int, config: PiCaConfig, task: int) -> int:
        """R m, where layers share nothing."""
        return 0 if config.shared else config.rank * m

    @staticmethod
    def shared_numbers(config: PiCaConfig, task: int, shapes: Mapping[str, tuple[int, int]]) -> int:
        """R times the outputs of every group."""
        groups = {group_of(name, m): m for name, (m, _) in shapes.items()}
        return config.rank * sum(groups.values()) if config.shared else 0


METHOD = Method(
    name="pica",
    title="PiCa",
    paper="Hwang et al. 2025, arXiv:2505.20211",
    summary="Learns in the main input directions of every weight; layers of a kind share M.",
    config=PiCaConfig,
    adapter=PiCa,
    trains="adapters",
    learns="M",
    learning_rate=0.003,
    control=False,
    lora_export=True,
    trained_numbers="r m per group of layers",
)
