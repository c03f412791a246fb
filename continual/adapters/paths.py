"""Paths: tensors of which a layer uses as much as it wants, and the choice how much.

    lora X = Xd Xu      vector X = Xd[:, 0]      constant X = Xd[0, 0]      none X = 0

All kinds look at the same Xd, so that a narrow one is the first column or entry of a wide one. A
vector has one number per row and a constant one in all; both are broadcast over what is left.
A supernet holds the widest kinds and uses others: drawn ones within an optimiser step, and between
steps those that were taken last, at first the widest.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from continual.adapters.base import Site, seed_of
from continual.adapters.choices import Choices, Pick

KINDS = {  # of every letter of GLoRA, the widest first and none last
    "A": ("lora", "vector", "constant", "none"),
    "B": ("lora", "vector", "constant", "none"),
    "C": ("lora", "vector", "none"),
    "D": ("vector", "constant", "none"),
    "E": ("vector", "constant", "none"),
}
WIDEST = {letter: kinds[0] for letter, kinds in KINDS.items()}
ON_WEIGHT, ON_BIAS = "AB", "CDE"


def shapes(letter: str, kind: str, m: int, n: int, rank: int) -> dict[str, tuple[int, int]]:
    """Return the shapes of Xd and Xu that a kind needs: A, B (m, n), C (n, 1), D, E (m, 1)."""
    rows, columns = (n if letter == "C" else m), (n if letter in ON_WEIGHT else 1)
    if kind == "lora":
        return {"d": (rows, rank), "u": (rank, columns)}
    return {"vector": {"d": (rows, 1)}, "constant": {"d": (1, 1)}, "none": {}}[kind]


def path_numbers(kinds: Mapping[str, str], m: int, n: int, rank: int) -> int:
    """Return how many numbers these kinds use at an (m, n) weight.

    >>> [path_numbers({"A": kind}, 7, 5, 2) for kind in KINDS["A"]]
    [24, 7, 1, 0]
    """
    needed = [shapes(letter, kind, m, n, rank) for letter, kind in kinds.items()]
    return sum(rows * columns for one in needed for rows, columns in one.values())


class Paths(nn.Module):
    """Xd, from zero, and Xu, from U(−1/√c, 1/√c) with c columns, of every letter."""

    choice: Tensor

    def __init__(
        self, site: Site, rank: int, kinds: Mapping[str, str], *, supernet: bool = False
    ) -> None:
        """Allocate what these kinds need, in float32 on the weight's device."""
        super().__init__()
        self.shape, self.rank, self.supernet = tuple(site.weight.shape), rank, supernet
        self.taken = dict(kinds)
        self.drawn: dict[str, str] | None = None  # by the current optimiser step
        m, n = self.shape
        for letter, kind in kinds.items():
            for part, shape in shapes(letter, kind, m, n, rank).items():
                tensor = torch.zeros(shape)
                if part == "u":
                    bound = 1.0 / math.sqrt(shape[1])
                    seed = seed_of(site.seed, "paths", letter)
                    tensor.uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))
                self.register_parameter(letter + part, nn.Parameter(tensor.to(site.weight.device)))
        if supernet:
            first = torch.zeros(len(kinds), dtype=torch.int64, device=site.weight.device)
            self.register_buffer("choice", first)

    def kind(self, letter: str) -> str:
        """Return the kind in use; drawn ones are for learning only."""
        kinds = self.taken if self.drawn is None or not self.training else self.drawn
        return kinds.get(letter, "none")

    def pair(self, letter: str) -> tuple[Tensor, Tensor]:
        """Return (Xd, Xu) of a lora."""
        tensors = self._tensors()
        return tensors[f"{letter}d"], tensors[f"{letter}u"]

    def _tensors(self) -> dict[str, Tensor]:
        """The parameters by name, or what stands in for them in a functional call."""
        return dict(self.named_parameters(recurse=False))

    def value(self, letter: str) -> Tensor | None:
        """Return X, to be broadcast to the weight's shape, or of one column; None for nothing."""
        kind = self.kind(letter)
        if kind == "none":
            return None
        if kind == "lora":
            down, up = self.pair(letter)
            return down @ up if letter in ON_WEIGHT else (down @ up[:, 0])[:, None]
        down = self._tensors()[f"{letter}d"]
        return down[:, :1] if kind == "vector" else down[:1, :1]

    def draw(self) -> None:
        """Draw the kinds of one optimiser step from torch's global generator.

        Every combination is as likely but the last one, none throughout, which cannot learn.
        """
        if self.supernet:
            sizes = [len(KINDS[letter]) for letter in self.taken]
            place, pick = int(torch.randint(math.prod(sizes) - 1, ())), []
            for size in reversed(sizes):
                place, digit = divmod(place, size)
                pick.append(digit)
            self.drawn = self.named(tuple(reversed(pick)))

    def named(self, pick: Pick) -> dict[str, str]:
        """Return the kinds of a pick."""
        return {letter: KINDS[letter][k] for letter, k in zip(self.taken, pick, strict=True)}

    def take(self, pick: Pick) -> None:
        """Use these kinds between steps from now on."""
        self.taken = self.named(pick)
        self.choice.copy_(torch.tensor(pick))

    def reread(self) -> None:
        """Use the kinds of a state that was just copied in."""
        if self.supernet:
            self.taken = self.named(tuple(self.choice.tolist()))

    def choices(self) -> Choices | None:
        """Return what a search may choose among; None without a supernet."""
        if not self.supernet:
            return None
        m, n = self.shape
        return Choices(
            sizes=tuple(len(KINDS[letter]) for letter in self.taken),
            now=tuple(self.choice.tolist()),
            numbers=lambda pick: path_numbers(self.named(pick), m, n, self.rank),
            take=self.take,
        )
