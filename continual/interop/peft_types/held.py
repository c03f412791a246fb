"""One adapter of ours inside a PEFT layer, and what PEFT's state has to say about it."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from continual.adapters.base import Adapter, Site
from continual.adapters.state import hash_tensors, part
from continual.errors import InputError

Frozen = tuple[Tensor, Tensor | None]  # W (m, n) and the bias (m,) of a layer


class Held(nn.Module):
    """An adapter, its task, and a hash of the frozen weight where it depends on that."""

    task: Tensor
    base: Tensor

    def __init__(self, adapter: Adapter, weight: Tensor | None) -> None:
        """Begin the first task.

        Args:
            adapter: fresh.
            weight: the frozen W (m, n) that must be there again where the adapter is loaded; None
                for an adapter that may be loaded beside any weight, as a LoRA may.
        """
        super().__init__()
        adapter.begin_task(0)
        self.adapter = adapter
        digest = "00" * 16 if weight is None else hash_tensors({"weight": weight})
        self.register_buffer("task", torch.zeros((), dtype=torch.int64))
        self.register_buffer("base", torch.tensor([*bytes.fromhex(digest)], dtype=torch.uint8))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """What the adapter makes of the frozen layer's input and output, computed in float32."""
        if self._is_wide:
            return self.adapter(x, y)
        tensors = (*self.adapter.named_parameters(), *self.adapter.named_buffers())
        wide = {name: tensor.float() for name, tensor in tensors if tensor.is_floating_point()}
        return functional_call(self.adapter, wide, (x, y))

    def dense(self) -> tuple[Tensor, Tensor | None]:
        """Return ΔW (m, n) and Δb (m,), None where the bias stays, computed in float32."""
        adapter = self.adapter if self._is_wide else copy.deepcopy(self.adapter).float()
        return adapter.delta_weight(), adapter.delta_bias()

    @property
    def _is_wide(self) -> bool:
        return next(self.parameters()).dtype == torch.float32

    @torch.no_grad()
    def shake(self) -> None:
        """Add normal numbers of deviation 0.2 to all that learns, from the global generator."""
        for parameter in self.adapter.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)

    def place(self, device: torch.device | str) -> None:
        """Put new, empty parameters there, the meta device for one: they are about to be loaded."""
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                empty = torch.empty_like(parameter, device=device)
                setattr(module, name, nn.Parameter(empty, requires_grad=parameter.requires_grad))

    def cast(self, weight: Tensor) -> None:
        """Take the dtype of the frozen weight; what is derived is derived anew, as in loading."""
        self.to(weight.dtype)
        if weight.dtype != torch.float32 and not next(self.parameters()).is_meta:
            self.restore(self.state_dict(), weight, "")

    def begin_task(self, task: int) -> None:
        """Begin the next task; what learned goes on learning, and what did not does not."""
        with _as_before(self):
            self.adapter.begin_task(task)
        self.task.fill_(task)

    def restore(self, tensors: Mapping[str, Tensor], weight: Tensor, name: str) -> None:
        """Become what was saved under these names.

        Raises:
            InputError: names are missing or unknown, or the frozen weight is another one.
        """
        if tensors.keys() != (own := self.state_dict().keys()):
            raise InputError(
                f"the saved adapter does not fit layer {name!r}: it lacks "
                f"{sorted(own - tensors.keys())} and has unexpected {sorted(tensors.keys() - own)}."
            )
        if not torch.equal(tensors["base"].cpu(), self.base.cpu()):
            raise InputError(
                f"layer {name!r} has other weights than when the adapter was saved, and this "
                "method takes part of its change from them. Load the model it was trained on, in "
                "the same dtype, with no adapter merged."
            )
        if next(self.parameters()).is_meta:
            self.place(weight.device)
        with _as_before(self):
            self.float()
            self.adapter.restore(part(tensors, "adapter."), weight)
        self.task.copy_(tensors["task"])

    def follow(self, known: Frozen, now: Frozen, fn: Callable[[Tensor], Tensor]) -> None:
        """Let plain tensors of the adapter go where the layer went.

        Args:
            known: weight and bias of the frozen layer before.
            now: the same afterwards; what pointed at the former points at them.
            fn: what was done to everything that is registered.
        """

        def moved(tensor: Tensor) -> Tensor:
            for old, new in zip(known, now, strict=True):
                if old is not None and new is not None and _same(old, tensor):
                    return new
            return fn(tensor)

        for module in self.adapter.modules():
            for name, value in list(vars(module).items()):
                if isinstance(value, Tensor):
                    setattr(module, name, moved(value))
                elif isinstance(value, Site):
                    bias = None if value.bias is None else moved(value.bias)
                    setattr(module, name, replace(value, weight=moved(value.weight), bias=bias))


@contextmanager
def _as_before(held: Held) -> Iterator[None]:
    """Inside, parameters may be replaced; afterwards they learn, or not, in the dtype of before."""
    first = next(held.parameters())
    learning, dtype = first.requires_grad, first.dtype
    if dtype.itemsize < torch.float32.itemsize:
        held.float()
    yield
    held.requires_grad_(learning)
    if dtype != torch.float32:
        held.to(dtype)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.data_ptr() == other.data_ptr() and one.shape == other.shape
