"""AdamW over exactly the numbers that a method trains, and its state as plain tensors."""

from collections.abc import Mapping

import torch
from torch import nn


def make_optimiser(
    trainable: Mapping[str, nn.Parameter], lr: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return a fresh AdamW; parameters are ordered by name, so that its state has a fixed order."""
    parameters = [trainable[name] for name in sorted(trainable)]
    return torch.optim.AdamW(parameters, lr=lr, weight_decay=weight_decay)


def optimiser_state(
    optimiser: torch.optim.Optimizer, trainable: Mapping[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Return the moments and step counts, keyed ``NAME|FIELD``; nothing before the first step."""
    return {
        f"{name}|{field}": value.detach().clone().cpu()
        for name in sorted(trainable)
        for field, value in optimiser.state.get(trainable[name], {}).items()
    }


def load_optimiser_state(
    optimiser: torch.optim.Optimizer,
    trainable: Mapping[str, nn.Parameter],
    state: Mapping[str, torch.Tensor],
) -> None:
    """Put back what :func:`optimiser_state` returned; moments go to their parameter's device."""
    for key, value in state.items():
        name, field = key.rsplit("|", 1)
        parameter = trainable[name]
        placed = value.clone() if field == "step" else value.to(parameter.device)
        optimiser.state[parameter][field] = placed
