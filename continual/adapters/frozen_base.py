"""What the model was before it was adapted: its hash, its gradient flags and, if needed, a copy."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from continual.adapters.state import copies, hash_tensors, model_tensors


class FrozenBase:
    """The backbone's own numbers. A copy is kept only where training changes them.

    Attributes:
        hash: of every number of the backbone at attach, heads left out.
        copy: the backbone's numbers by name on the CPU; empty where training leaves them alone.
        is_live: whether the model holds the base's numbers at the moment instead of trained ones.
    """

    def __init__(self, model: nn.Module, heads: nn.Module | None, *, keep: bool) -> None:
        """Remember a model that is not adapted yet."""
        self._model, self._heads = model, heads
        self._flags = [(p, p.requires_grad) for p in self._parameters()]
        own = self.tensors()
        self.hash = hash_tensors(own)
        self.copy = copies(own) if keep else {}
        self.is_live = False

    def tensors(self) -> dict[str, Tensor]:
        """Return the backbone's parameters and persistent buffers, live, without the heads."""
        heads = self._heads.parameters() if self._heads is not None else ()
        return model_tensors(self._model, frozenset(map(id, heads)))

    def trained(self) -> dict[str, Tensor]:
        """Return those of them that training changes."""
        return self.tensors() if self.copy else {}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy numbers into the live backbone."""
        live = self.tensors()
        for name, tensor in tensors.items():
            live[name].copy_(tensor)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Inside, the live backbone holds its original numbers; may be nested."""
        swap = bool(self.copy) and not self.is_live
        if swap:
            self._exchange()
        try:
            yield
        finally:
            if swap:
                self._exchange()

    def mark(self, learning: frozenset[int]) -> None:
        """Let gradients flow to exactly the parameters with these ids."""
        for parameter in self._parameters():
            parameter.requires_grad_(id(parameter) in learning)

    def undo(self) -> None:
        """Give back the original numbers and ``requires_grad`` flags."""
        self.load(self.copy)
        for parameter, flag in self._flags:
            parameter.requires_grad_(flag)

    def _parameters(self) -> list[nn.Parameter]:
        heads = self._heads.parameters() if self._heads is not None else ()
        return [*self._model.parameters(), *heads]

    def _exchange(self) -> None:
        live = self.tensors()
        for name, other in self.copy.items():
            self.copy[name] = live[name].data
            live[name].data = other.to(live[name].device)
        self.is_live = not self.is_live
