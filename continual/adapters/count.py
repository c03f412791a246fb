"""How many numbers a method trains on a model, by its closed formula: no weights are needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from continual.adapters.base import Site
from continual.adapters.checks import check_rank
from continual.adapters.depth import depths
from continual.adapters.layer import bias_of, weight_of
from continual.adapters.registry import method_named
from continual.adapters.settings import check_config
from continual.adapters.targets import find_layers


@dataclass(frozen=True, kw_only=True)
class Count:
    """Trained numbers of one method on one model, heads left out.

    Attributes:
        method: its name.
        task: the task, from 0, during which so many learn.
        trained: how many numbers learn.
        layers: how many weights are adapted.
        model: how many numbers the model has, tied ones once.
    """

    method: str
    task: int
    trained: int
    layers: int
    model: int


def count_trained(
    model: nn.Module,
    method: str,
    config: Any = None,
    *,
    targets: str | Sequence[str] = "default",
    model_type: str = "",
    task: int = 0,
) -> Count:
    """Count without building a single adapter; a model on the meta device will do.

    Args:
        model: of which only shapes are looked at.
        method: a name in ``METHODS`` or an alias.
        config: the method's config; its defaults for None.
        targets: as for ``attach``.
        model_type: as for ``attach``.
        task: which task of the sequence; some methods train more in later ones.

    Raises:
        InputError: unknown method, config of another method, no layer to adapt, a rank or another
            setting that does not fit one.
    """
    found = method_named(method)
    config = check_config(found, config)
    whole = sum(parameter.numel() for parameter in model.parameters())
    trained, layers = (whole if found.trains == "everything" else 0), 0
    if found.adapter is not None:
        bases = find_layers(model, targets, model_type=model_type)
        weights = {name: weight_of(name, base) for name, base in bases.items()}
        deep = depths(weights)
        for name, weight in weights.items():
            site = Site(name=name, weight=weight, share=1.0, seed=0, depth=deep[name])
            if hasattr(config, "rank"):
                check_rank(config.rank, site, found.name)
            found.adapter.check(site, config)
        shapes = {name: (weight.shape[0], weight.shape[1]) for name, weight in weights.items()}
        trained = sum(found.adapter.trained_numbers(*s, config, task) for s in shapes.values())
        biased = [shape for name, shape in shapes.items() if bias_of(bases[name]) is not None]
        trained += sum(found.adapter.bias_numbers(*s, config, task) for s in biased)
        trained += found.adapter.shared_numbers(config, task, shapes)
        layers = len(shapes)
    return Count(method=found.name, task=task, trained=trained, layers=layers, model=whole)
