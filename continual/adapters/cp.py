"""Factors of a CP tensor that many weights share, and where in it a weight lies by its path."""

from collections.abc import Mapping

import torch
from torch import nn

from continual.adapters.base import Site, seed_of


def place(name: str) -> tuple[str, str]:
    """Return the layer and the kind of a weight, from its path.

    >>> place("model.layers.3.self_attn.q_proj")
    ('model.layers.3', 'self_attn.q_proj')
    """
    parts = name.split(".")
    cut = max((k + 1 for k, part in enumerate(parts) if part.isdigit()), default=0)
    return ".".join(parts[:cut]), ".".join(parts[cut:])


def drawn(site: Site, shapes: Mapping[str, tuple[int, ...]]) -> nn.ParameterDict:
    """Return factors from U(−√(b/r), √(b/r)): b is 1 for A, 0 for B and 6 for all shares."""
    factors = nn.ParameterDict()
    for name, shape in shapes.items():
        rank = shape[0] if name == "A" else shape[-1]
        bound = ({"A": 1.0, "B": 0.0}.get(name, 6.0) / rank) ** 0.5
        generator = torch.Generator("cpu").manual_seed(seed_of(site.seed, "lorta", name))
        numbers = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        factors[name] = nn.Parameter(numbers.to(site.weight.device))
    return factors
