"""Numbers by name: which of the backbone's own a tuner changes, and others in their place."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from continual.adapters.state import check_keys
from continual.errors import InputError
from continual.interop.tuners.tuner import Tuner


class Changes:
    """What of the backbone's own numbers a tuner changes.

    Attributes:
        altered: names of those that learn themselves, or that PEFT changed when it began.
        taking_part: names of these and of all numbers in the modules that it replaced.
    """

    def __init__(
        self, tuner: Tuner, live: Mapping[str, Tensor], before: Mapping[str, Tensor]
    ) -> None:
        """Compare the backbone's numbers with what they were before the tuner was built."""
        learning = {id(p) for p in tuner.trainable().values()}
        inside = {id(p) for _, _, old, _ in tuner.places if old for p in old.parameters()}
        self.altered = frozenset(
            name
            for name, tensor in live.items()
            if id(tensor) in learning or not torch.equal(tensor.detach().cpu(), before[name])
        )
        self.taking_part = self.altered | {n for n, t in live.items() if id(t) in inside}

    def check_ties(self, network: nn.Module, tuner: Tuner) -> None:
        """Refuse to merge into a weight that another module uses too.

        Raises:
            InputError: names the weight.
        """
        named = dict(network.named_parameters(remove_duplicate=False))
        mine = {id(named[name]) for name in self.taking_part if name in named}
        replaced = {id(old) for _, _, old, _ in tuner.places}
        homes = {n for n, m in network.named_modules(remove_duplicate=False) if id(m) in replaced}
        for name, parameter in named.items():
            inside = any(name.startswith(f"{home}.") for home in homes)
            if id(parameter) in mine and not inside and name not in self.altered:
                raise InputError(
                    f"the weight {name!r} is shared with a module that PEFT adapts, so merging "
                    "would change it too; choose other targets, or method.mode=through."
                )


@torch.no_grad()
def load(numbers: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    """Copy saved numbers into live ones, in place.

    Raises:
        InputError: names or a shape differ; nothing was copied.
    """
    check_keys(tensors, numbers)
    for name, tensor in numbers.items():
        if tensor.shape != tensors[name].shape:
            raise InputError(
                f"the saved tensor {name!r} has shape {tuple(tensors[name].shape)}; PEFT has built "
                f"{tuple(tensor.shape)}. The file is damaged or of another version of PEFT."
            )
    for name, tensor in numbers.items():
        tensor.copy_(tensors[name])


@contextmanager
def lent(numbers: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Iterator[None]:
    """Inside, live tensors hold other numbers."""
    kept = {name: tensor.data for name, tensor in numbers.items()}
    for name, tensor in numbers.items():
        tensor.data = others[name].to(tensor.device)
    try:
        yield
    finally:
        for name, tensor in numbers.items():
            tensor.data = kept[name]
