"""Put a method's adapters on a model."""

from collections.abc import Mapping, Sequence

from torch import nn

from continual.adapters.adaptation import Adaptation, Place
from continual.adapters.base import Shared, Site, seed_of
from continual.adapters.depth import depths
from continual.adapters.layer import AdaptedLinear, bias_of, weight_of
from continual.adapters.registry import method_named
from continual.adapters.settings import check_config
from continual.adapters.targets import find_layers
from continual.errors import InputError


def attach(
    model: nn.Module,
    method: str,
    config: object | None = None,
    *,
    targets: str | Sequence[str] = "default",
    model_type: str = "",
    seed: int = 0,
    heads: nn.Module | None = None,
) -> Adaptation:
    """Freeze a model and put a method's adapters on it, in place; nothing changes yet.

    Args:
        model: the pretrained network.
        method: a name in ``METHODS`` or an alias, such as "curlora".
        config: the method's config; its defaults for None.
        targets: which layers: "default", "all-linear", a list of name endings, or "re:...".
        model_type: the architecture (``model.config.model_type`` in transformers), for "default".
        seed: of every random choice of the adapters; at least 0.
        heads: output layers that learn with every method but "frozen", inside or beside the model.

    Returns:
        The adaptation, before its first task. ``detach()`` undoes everything.

    Raises:
        InputError: unknown method, config of another method, no layer to adapt, a rank that does
            not fit a layer, packed weights, or a model that already carries adapters. The model is
            then unchanged.
    """
    found = method_named(method)
    config = check_config(found, config)
    if any(isinstance(module, AdaptedLinear) for module in model.modules()):
        raise InputError("this model already carries adapters; call detach() on them first.")
    if found.trains == "heads" and heads is None:
        raise InputError(
            f"method {found.name!r} trains heads only; pass heads=..., or use 'frozen' instead."
        )
    if found.adapter is None:
        layers, places = {}, {}
    else:
        inside = frozenset(map(id, heads.modules())) if heads is not None else frozenset()
        bases = find_layers(model, targets, model_type=model_type, excluded=inside)
        sites = sites_of(bases, seed, Shared(seed))
        layers = {s.name: AdaptedLinear(bases[s.name], found.adapter(s, config)) for s in sites}
        places = _places(model, bases)
    return Adaptation(
        model=model, method=found, config=config, layers=layers, places=places, heads=heads
    )


def sites_of(bases: Mapping[str, nn.Module], seed: int, shared: Shared) -> list[Site]:
    """Return the sites of the layers that are adapted together, by their paths in the model.

    Raises:
        InputError: packed weights.
    """
    weights = {name: weight_of(name, base) for name, base in bases.items()}
    total = sum(weight.numel() for weight in weights.values())
    deep = depths(weights)
    return [
        Site(
            name=name,
            weight=weight,
            share=weight.numel() / total,
            seed=seed_of(seed, name),
            shared=shared,
            bias=bias_of(bases[name]),
            depth=deep[name],
        )
        for name, weight in weights.items()
    ]


def _places(model: nn.Module, bases: Mapping[str, nn.Module]) -> dict[str, list[Place]]:
    """Every place of every layer: a module shared by two parents is replaced in both."""
    names = {id(base): name for name, base in bases.items()}
    places: dict[str, list[Place]] = {name: [] for name in bases}
    for parent in model.modules():
        for child, module in parent.named_children():
            if id(module) in names:
                places[names[id(module)]].append((parent, child))
    return places
