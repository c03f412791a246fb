"""What a config and a saved state must be, checked where they come in."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from continual.errors import InputError, unknown

if TYPE_CHECKING:
    from continual.adapters.base import Site


def check_rank(rank: int, site: "Site", method: str) -> int:
    """Return ``rank`` if ``site`` can hold it.

    Raises:
        InputError: larger than min(m, n); names the layer.
    """
    m, n = site.weight.shape
    if rank > min(m, n):
        raise InputError(
            f"{method} of rank {rank} does not fit layer {site.name!r}, whose weight is "
            f"({m}, {n}): at most {min(m, n)} is possible. Lower the rank or choose other targets."
        )
    return rank


def check_positive(name: str, value: Any) -> None:
    """Raise ``InputError`` unless ``value`` is a finite number above zero."""
    if not _is_number(value) or not 0 < value < float("inf"):
        raise InputError(f"{name} must be a finite number above 0; got {value!r}.")


def check_weight(name: str, value: Any) -> None:
    """Raise ``InputError`` unless ``value`` is finite and at least 0."""
    if not _is_number(value) or not 0.0 <= value < float("inf"):
        raise InputError(f"{name} must be finite and at least 0; got {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise ``InputError`` unless ``value`` is one of those allowed."""
    if value not in allowed:
        raise unknown(name, str(value), allowed)


def check_count(name: str, value: Any, least: int = 1) -> None:
    """Raise ``InputError`` unless ``value`` is an integer of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} must be an integer of at least {least}; got {value!r}.")


def copy_state(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy ``tensors`` into a module's parameters and buffers, in place.

    Raises:
        InputError: a shape differs; nothing was copied.
    """
    own = module.state_dict(keep_vars=True)
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            raise InputError(
                f"the saved tensor {name!r} has shape {tuple(tensors[name].shape)}; this adapter "
                f"holds {tuple(tensor.shape)}. The file is damaged or of another configuration."
            )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
