"""The contract of one adapted weight, as equations.

W (m, n) is the frozen weight in (outputs, inputs) layout, x its input, y = x Wᵗ + b the frozen
layer's own output, ΔW (m, n) what the adapter adds. Laws 1-5 and 8 of the design are stated on the
methods below and tested for every registered method by one file of tests.

Everything an adapter holds is float32 whatever the backbone's dtype, because small updates vanish
in bfloat16. Its branch is computed in that dtype too and rounded once: y + Δy is added in the wider
dtype and returned in y's. Under autocast torch chooses the dtype of the products.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.adapters.choices import Choices, Search

Part = TypeVar("Part", bound=nn.Module)


class Shared:
    """What the adapters of one model have in common, by name; made by whoever asks first.

    Attributes:
        seed: of random choices that belong to the whole model; the attach seed.
    """

    def __init__(self, seed: int = 0) -> None:
        """Begin empty."""
        self.seed = seed
        self._parts: dict[str, Any] = {}

    def once(self, name: str, make: Callable[[], Part]) -> Part:
        """Return the part of that name, made now if nobody asked before."""
        if name not in self._parts:
            self._parts[name] = make()
        return self._parts[name]


@dataclass(frozen=True, kw_only=True, eq=False)
class Site:
    """One weight of the backbone that is to be adapted.

    Attributes:
        name: the layer's path in the model, such as "model.layers.0.self_attn.q_proj".
        weight: W (m, n) in (outputs, inputs) layout; detached, read only.
        share: this weight's part of all adapted numbers, in (0, 1]; the shares sum to 1.
        seed: from (the attach seed, name): every random choice at this weight starts from it.
        shared: what this weight's adapter has in common with those of the model's other weights.
        bias: b (m,) of the frozen layer; detached, read only; None where it has none.
        depth: 0 in the first block of the network, 1 in the last; see ``adapters.depth``.
    """

    name: str
    weight: Tensor
    share: float
    seed: int
    shared: Shared = field(default_factory=Shared)
    bias: Tensor | None = None
    depth: float = 0.5


class Adapter(nn.Module, ABC):
    """A trained change ΔW of one frozen weight. Fresh, it changes nothing (law 1).

    Where ``holds_base``, the adapter has its own copy of W: the frozen layer is not computed, the y
    that ``forward`` gets is b alone, and it adds x (W + ΔW)ᵗ. ``scale`` is s, what a pair of its
    factors is multiplied with; where not ``plain_pairs``, something else stands between them.
    """

    holds_base: ClassVar[bool] = False
    scale: float = 1.0
    plain_pairs: ClassVar[bool] = True

    @abstractmethod
    def __init__(self, site: Site, config: Any) -> None:
        """Build for one weight; equal (site, config) give equal numbers in any order of visits.

        Raises:
            InputError: the config does not fit this weight; the message names the layer.
        """
        super().__init__()

    @staticmethod
    def check(site: Site, config: Any) -> None:
        """Refuse what ``__init__`` refuses beside a rank, by shapes alone; nothing by default.

        Raises:
            InputError: the config does not fit this weight; the message names the layer.
        """

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Return y + x ΔWᵗ + Δb, in y's dtype (law 2: equal to the dense form).

        The number of matrix products does not depend on the number of tasks (law 7).
        """

    @torch.no_grad()
    def served(
        self, x: Float[Tensor, "*batch n"], y: Float[Tensor, "*batch m"]
    ) -> Float[Tensor, "*batch m"]:
        """Return y + (x Aᵗ) Bᵗ from ``factors``, or ``forward`` where there are none; no gradient.

        Equal to ``forward`` up to rounding, by the operations that plain PEFT makes with the
        exported factors, in their order: so what is evaluated is what is served.
        """
        factors = self.factors()
        if factors is None:
            return self(x, y)
        B, A = factors
        return (y + linear(linear(x.to(A.dtype), A), B)).to(y.dtype)

    @abstractmethod
    def delta_weight(self) -> Float[Tensor, "m n"]:
        """Return ΔW, dense and differentiable: for tests, metrics and merging."""

    def delta_bias(self) -> Float[Tensor, " m"] | None:
        """Return Δb, differentiable; None where the bias stays as it is, as by default."""
        return None

    @abstractmethod
    def factors(self) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]] | None:
        """Return detached (B, A) with B A = ΔW, scale folded in; None if there are none (law 8)."""

    @abstractmethod
    def changes(self) -> list[tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]]:
        """Return detached (B, A) of every task's own change so far, for diagnostics.

        One pair where all tasks share one change; none where it has no low rank.
        """

    def sums(self) -> list[Tensor]:
        """Return what the forward passes of an optimiser step have added up beside gradients.

        Processes that share the step add these up too; none by default.
        """
        return []

    def pair_scale(self) -> float:
        """Return s where a pair of this adapter that learns enters ΔW as s B A.

        Optimisers of pairs ask for it; of adapters without a pair, or whose ΔW is no such sum,
        nobody does, or what multiplies B A first stands for it.
        """
        return self.scale

    def penalty(self) -> Float[Tensor, ""]:
        """Return what this weight adds to the loss, once per optimiser step; nothing by default.

        The model's penalty is the sum over its adapters, so a mean over all adapted numbers is
        written as the mean over this weight times ``site.share``.
        """
        return next(self.parameters()).new_zeros(())

    def before_step(self) -> None:
        """Draw what one whole optimiser step has in common, from torch's global generator.

        The loop has seeded it from the position of the step. By default nothing is drawn.
        """

    def after_backward(self) -> None:
        """Change the gradients of this adapter's parameters, before they are clipped."""

    def after_step(self, lr: float) -> bool:
        """Finish an optimiser step that was made with this learning rate, as proximal steps do.

        Returns:
            Whether the parameters began anew, so that the optimiser must forget their moments.
        """
        return False

    def cleared(self) -> Mapping[nn.Parameter, Tensor]:
        """Return which entries were set to zero after a step that all adapters have finished.

        The optimiser must forget their moments, or momentum alone would bring them back.
        """
        return {}

    @abstractmethod
    def begin_task(self, task: int) -> None:
        """Prepare for task 0, 1, 2, ... in order; ΔW stays what it was (law 4).

        Task 0 of a fresh adapter does nothing. Parameters may be replaced: ask for them again.
        """

    def look(self, x: Float[Tensor, "*batch n"]) -> None:
        """See inputs of this weight before the current task is learned; see ``looks_at``."""

    def settle(self) -> None:
        """Begin to learn, now that every adapter has seen its inputs."""

    def choices(self) -> Choices | None:
        """Return what is chosen at this weight at the end of every task; see ``searches``."""
        return None

    def serve(self, task: int | None) -> None:
        """Answer as for task 0, 1, ... from now on; None is the current one.

        By default one function serves every task; see ``needs_task``.
        """

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor], weight: Float[Tensor, "m n"]) -> None:
        """Become the adapter whose ``state_dict`` was ``tensors``, bit for bit (law 5).

        Args:
            tensors: complete; keys have been checked.
            weight: the frozen W, from which unsaved frozen factors are rebuilt.

        Raises:
            InputError: a tensor of an impossible shape.
        """

    @staticmethod
    def continues(config: Any) -> bool:
        """Say whether the same parameters go on learning when the next task begins."""
        return False

    @staticmethod
    def needs_task(config: Any) -> bool:
        """Say whether every task has a function of its own, so that the task must be told."""
        return False

    @staticmethod
    def looks_at(config: Any) -> int:
        """Return how many examples of a task this adapter must see before it learns the task."""
        return 0

    @staticmethod
    def searches(config: Any) -> Search | None:
        """Return how a search at the end of every task looks among ``choices``; None: none does."""
        return None

    @staticmethod
    @abstractmethod
    def trained_numbers(m: int, n: int, config: Any, task: int) -> int:
        """Return how many numbers learn at one (m, n) weight during task 0, 1, ... (law 3)."""

    @staticmethod
    def bias_numbers(m: int, n: int, config: Any, task: int) -> int:
        """Return how many more learn where the weight's layer has a bias."""
        return 0

    @staticmethod
    def shared_numbers(config: Any, task: int, shapes: Mapping[str, tuple[int, int]]) -> int:
        """Return how many numbers learn during a task beside those of the single weights.

        Args:
            config: of the method.
            task: 0, 1, ...
            shapes: (m, n) of every adapted weight by its layer's path.
        """
        return 0


def seed_of(*parts: object) -> int:
    """Return a seed in [0, 2⁶³) that is a pure function of the parts.

    >>> seed_of(0, "layer.1") == seed_of(0, "layer.1")
    True
    >>> seed_of(0, "layer.1") == seed_of(1, "layer.1")
    False
    """
    text = "\x00".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
