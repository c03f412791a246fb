"""Factors of a CP tensor that many weights share."""

from collections.abc import Mapping

import torch
from torch import nn

from continual.adapters.base import Site, seed_of


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
