"""GLoRA: one weight and its bias changed along five paths, each as wide as it is allowed to be.

    W_eff = W + W ⊙ A + B            b_eff = b + b ⊙ D + E + W C
    A, B (m, n) ∈ {lora Xd Xu, vector Xd[:, 0] over the columns, constant Xd[0, 0], none}
    C (n) ∈ {lora Xd Xu, vector, none},    D, E (m) ∈ {vector, constant, none}

Every Xd is zero at first, so that ΔW = 0 and Δb = 0. A layer without a bias gets none: its C, D, E
are none. W ⊙ A is the elementwise product, of rank up to r rank(W), so there is no exact LoRA.
Trained numbers: of A and B r (m + n), m, 1 or 0; of C r (n + 1), n or 0; of D and E m, 1 or 0.
``supernet`` trains all of them, 2 r (m + n) and with a bias r (n + 1) + 2 m: in every step each
layer uses kinds drawn at random, and after every task a search on that task's validation split
takes the kinds that answer until the next search; before the first one the widest do.

Reference: Chavan et al. (2023), arXiv:2306.07967. Three things carry the name: the paper writes a
matrix product of W and A, LyCORIS computes W A₁A₂ + B₁B₂, and this is the elementwise form of the
published code and of PEFT.
Deviations: PEFT ties the kinds of A and B, and those of D and E; Xu is Kaiming-uniform as there,
Xavier-uniform in the published code. No layer draws none five times, which could not learn. The
search minimises nats where the published one maximises accuracy. Where A is a vector or a constant,
x Wᵗ is what the frozen layer computed, in its dtype, and costs no product.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import linear

from continual.adapters.base import Adapter, Site
from continual.adapters.checks import check_choice, check_count, check_rank, copy_state
from continual.adapters.choices import Choices, Search
from continual.adapters.method import Method
from continual.adapters.paths import KINDS, ON_BIAS, ON_WEIGHT, WIDEST, Paths, path_numbers
from continual.errors import InputError


@dataclass(frozen=True, kw_only=True)
class GLoRAConfig(Search):
    """Settings of GLoRA, and those of its search.

    Attributes:
        rank: r of every lora.
        a: kind of A, which scales W: lora, vector, constant or none.
        b: kind of B, which is added to W: the same.
        c: kind of C, which carries W into the bias: lora, vector or none.
        d: kind of D, which scales the bias: vector, constant or none.
        e: kind of E, which is added to it: the same.
        supernet: train all kinds at once and search among them; leave out a to e.
    """

    rank: int = 4
    a: str = "lora"
    b: str = "lora"
    c: str = "lora"
    d: str = "vector"
    e: str = "vector"
    supernet: bool = False

    def __post_init__(self) -> None:
        """Refuse impossible values, and settings that would do nothing."""
        super().__post_init__()
        check_count("GLoRAConfig.rank", self.rank)
        for letter, kind in self.kinds.items():
            check_choice(f"GLoRAConfig.{letter.lower()}", kind, KINDS[letter])
        if set(self.kinds.values()) == {"none"}:
            raise InputError("GLoRAConfig: a, b, c, d and e are all none, so nothing would learn.")
        if self.supernet and self.kinds != WIDEST:
            raise InputError("supernet uses every kind of a, b, c, d and e; leave them out.")
        if not self.supernet and not self.is_default:
            raise InputError(
                "population, generations, mutation and limit are of the search among the kinds of "
                "a supernet; give supernet=true, or leave them out."
            )

    @property
    def kinds(self) -> dict[str, str]:
        """The kind of every letter."""
        return {"A": self.a, "B": self.b, "C": self.c, "D": self.d, "E": self.e}

    def of(self, letters: str) -> dict[str, str]:
        """Return the kinds of some letters."""
        return {letter: self.kinds[letter] for letter in letters}


class GLoRA(Adapter):
    """The same tensors are carried through every task."""

    def __init__(self, site: Site, config: GLoRAConfig) -> None:
        """Begin at zero."""
        super().__init__(site, config)
        check_rank(config.rank, site, "glora")
        self.weight, self.bias = site.weight, site.bias  # of the frozen layer, never copied
        kinds = config.of(ON_WEIGHT) if site.bias is None else config.kinds
        if set(kinds.values()) == {"none"}:
            raise InputError(
                f"glora with a and b none changes biases, and layer {site.name!r} has none. Give a "
                "or b another kind, or choose other targets."
            )
        self.paths = Paths(site, config.rank, kinds, supernet=config.supernet)

    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Y + x (W ⊙ A)ᵗ + x Bᵗ + Δb; only a lora A is multiplied out, by W."""
        paths, x = self.paths, x.to(torch.float32)
        wide = changed = y.to(torch.promote_types(y.dtype, torch.float32))
        if (A := paths.value("A")) is not None and paths.kind("A") == "lora":
            changed = changed + linear(x, (self.weight * A).float())
        elif A is not None:  # x Wᵗ is there already
            changed = changed + A[:, 0] * (wide if self.bias is None else wide - self.bias)
        if paths.kind("B") == "lora":
            down, up = paths.pair("B")
            changed = changed + linear(linear(x, up), down)
        elif (B := paths.value("B")) is not None:
            changed = changed + x.sum(-1, keepdim=True) * B[:, 0]
        bias = self.delta_bias()
        return (changed if bias is None else changed + bias).to(y.dtype)

    def delta_weight(self) -> Float[Tensor, "m n"]:
        """W ⊙ A + B."""
        A, B, W = self.paths.value("A"), self.paths.value("B"), self.weight
        scaled = torch.zeros_like(W, dtype=torch.float32) if A is None else (W * A).float()
        return scaled if B is None else scaled + B

    def delta_bias(self) -> Float[Tensor, " m"] | None:
        """E + b ⊙ D + W C."""
        C, D, E = (self.paths.value(letter) for letter in ON_BIAS)
        terms = [] if C is None else [self.weight.float() @ C[:, 0]]
        if self.bias is not None:
            terms += [] if D is None else [(self.bias * D[:, 0]).float()]
            terms += [] if E is None else [E[:, 0].expand(self.bias.shape)]
        return sum(terms[1:], terms[0]) if terms else None

    def factors(self) -> None:
        """W ⊙ A has no low rank."""

    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """None of low rank."""
        return []

    def choices(self) -> Choices | None:
        """The kinds of every letter, in a supernet."""
        return self.paths.choices()

    def before_step(self) -> None:
        """Draw the kinds that this step learns, in a supernet."""
        self.paths.draw()

    def after_step(self, lr: float) -> bool:
        """Back to the kinds that answer."""
        self.paths.drawn = None
        return False

    def begin_task(self, task: int) -> None:
        """The same tensors go on learning, and the kinds that answer stay until the next search."""

    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Tensors and kinds from the state."""
        self.weight = weight
        copy_state(self, tensors)
        self.paths.reread()

    @staticmethod
    def continues(config: GLoRAConfig) -> bool:
        """They do."""
        return True

    @staticmethod
    def searches(config: GLoRAConfig) -> Search | None:
        """A supernet is searched."""
        return config if config.supernet else None

    @staticmethod
    def trained_numbers(m: int, n: int, config: GLoRAConfig, task: int) -> int:
        """Of A and B."""
        return path_numbers(config.of(ON_WEIGHT), m, n, config.rank)

    @staticmethod
    def bias_numbers(m: int, n: int, config: GLoRAConfig, task: int) -> int:
        """Of C, D and E."""
        return path_numbers(config.of(ON_BIAS), m, n, config.rank)


METHOD = Method(
    name="glora",
    title="GLoRA",
    paper="Chavan et al. 2023, arXiv:2306.07967",
    summary="Weight and bias are scaled and shifted, as widely as is set or searched.",
    config=GLoRAConfig,
    adapter=GLoRA,
    trains="adapters",
    learns="A, B, C, D, E",
    learning_rate=0.01,
    control=False,
    lora_export=False,
    trained_numbers="2 r (m + n), with a bias + r (n + 1) + 2 m",
)
