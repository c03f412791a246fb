"""Avalanche, both ways: https://avalanche.continualai.org, version 0.6.

    outgoing     a scenario as an Avalanche benchmark
    incoming     an Avalanche benchmark as a scenario
    streams      the experiences of its streams, and what fits together
    items        what an item of an Avalanche data set is to us
    plugin       a method of ours inside an Avalanche strategy; refusals: what cannot be there
    seeded       batches and randomness of our loop inside an Avalanche strategy
    classifier   one of our vision backbones with growing heads, as models for Avalanche
    results      what an Avalanche strategy has evaluated, as R

Importing this package imports neither torch nor avalanche; its names do when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from continual._torchvision import ensure_torchvision

if TYPE_CHECKING:
    from continual.interop.avalanche.classifier import Classifier as Classifier
    from continual.interop.avalanche.classifier import TaskClassifier as TaskClassifier
    from continual.interop.avalanche.incoming import from_benchmark as from_benchmark
    from continual.interop.avalanche.outgoing import to_benchmark as to_benchmark
    from continual.interop.avalanche.plugin import AdapterPlugin as AdapterPlugin
    from continual.interop.avalanche.results import read_results as read_results
    from continual.interop.avalanche.seeded import SeededSteps as SeededSteps

_HOMES = {
    "AdapterPlugin": "plugin",
    "Classifier": "classifier",
    "SeededSteps": "seeded",
    "TaskClassifier": "classifier",
    "from_benchmark": "incoming",
    "read_results": "results",
    "to_benchmark": "outgoing",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}.")
    ensure_torchvision()
    return vars(import_module(f"{__name__}.{_HOMES[name]}"))[name]


def __dir__() -> list[str]:
    return __all__
