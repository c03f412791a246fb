"""Train one frozen pretrained model on a sequence of tasks, and see what it forgot.

The names below are loaded when they are first used, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from continual.adapters import METHODS as METHODS
    from continual.adapters import attach as attach
    from continual.backbone import load_backbone as load_backbone
    from continual.errors import InputError as InputError
    from continual.errors import StoppedError as StoppedError
    from continual.interop.trainer import ForgettingCallback as ForgettingCallback
    from continual.metrics import METRICS as METRICS
    from continual.metrics import scores as scores
    from continual.records import RunRecord as RunRecord
    from continual.reports import write_report as write_report
    from continual.runs.assemble import run as run
    from continual.runs.fork import fork as fork
    from continual.runs.verify import verify as verify
    from continual.scenario import Scenario as Scenario
    from continual.scenario import Task as Task
    from continual.scenario import load_scenario as load_scenario
    from continual.scenario import split_by_class as split_by_class

_HOMES = {
    "METHODS": "adapters",
    "METRICS": "metrics",
    "ForgettingCallback": "interop.trainer",
    "InputError": "errors",
    "RunRecord": "records",
    "Scenario": "scenario",
    "StoppedError": "errors",
    "Task": "scenario",
    "attach": "adapters",
    "fork": "runs.fork",
    "load_backbone": "backbone",
    "load_scenario": "scenario",
    "run": "runs.assemble",
    "scores": "metrics",
    "split_by_class": "scenario",
    "verify": "runs.verify",
    "write_report": "reports",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'continual' has no attribute {name!r}; it has {__all__}.")
    found = import_module(f"continual.{_HOMES[name]}")
    return found.__dict__[name]


def __dir__() -> list[str]:
    return __all__
