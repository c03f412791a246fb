"""What an optimiser remembers of numbers that were set by hand: it must let go of it."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from continual.adapters.base import Adapter


def finish_step(adapters: Collection[Adapter], lr: float) -> dict[nn.Parameter, Tensor | None]:
    """Let adapters finish an optimiser step; return what began anew, as ``forget`` takes it."""
    anew = [adapter for adapter in adapters if adapter.after_step(lr)]
    some: dict[nn.Parameter, Tensor | None] = {}
    for adapter in adapters:
        some.update(adapter.cleared())
    return some | {parameter: None for one in anew for parameter in one.parameters()}


@torch.no_grad()
def forget(optimiser: torch.optim.Optimizer, anew: Mapping[nn.Parameter, Tensor | None]) -> None:
    """Forget the moments of what began anew, as ``Adaptation.after_step`` returns it.

    Of marked entries the means of gradients are forgotten; means of squares (``..._sq``) stay,
    because they only say how large a step is.
    """
    for parameter, entries in anew.items():
        if entries is None:
            optimiser.state.pop(parameter, None)
            continue
        for name, value in optimiser.state.get(parameter, {}).items():
            alike = isinstance(value, Tensor) and value.shape == parameter.shape
            if alike and not name.endswith("_sq"):
                value.masked_fill_(entries, 0.0)
