"""Which of rehearsal, penalties, joint training and a method cannot go with each other."""

from collections.abc import Mapping
from typing import Any

from continual.adapters import Adaptation
from continual.adapters.method import Method
from continual.errors import InputError
from continual.interop.tuners.settings import TunerConfig
from continual.training.config import TrainConfig
from continual.training.pairs import pairs_of


def check_pairs(adaptation: Adaptation, config: TrainConfig) -> None:
    """Raise ``InputError`` where an optimiser of pairs would find none in the attached method."""
    if config.optimiser != "adamw" and not pairs_of(adaptation):
        raise InputError(no_pair(config.optimiser, adaptation.method))


def no_pair(optimiser: str, method: Method) -> str:
    """Return why this optimiser cannot train this method."""
    return (
        f"train.optimiser {optimiser!r} updates low-rank pairs B A, and {method.name!r} trains "
        f"none ({method.learns}); leave it at 'adamw', or choose a method with pairs, as 'lora' is."
    )


def companion_problems(merged: Mapping[str, Any], method: Method, config: Any) -> list[str]:
    """Return why rehearsal, penalties or joint training cannot go with each other or a method."""
    ewc, lwf = merged["ewc"], merged["lwf"]
    beside = {
        "rehearsal.size": bool(merged["rehearsal"].get("size")),
        "ewc.lam": bool(ewc.get("lam")),
        "lwf.lam": bool(lwf.get("lam")),
    }
    given = [name for name, on in beside.items() if on]
    joint = bool(merged["train"].get("joint"))
    problems = []
    optimiser = merged["train"].get("optimiser", "adamw")
    if method.adapter is None and optimiser != "adamw":
        problems.append(no_pair(optimiser, method))
    if joint and given:
        problems.append(
            f"train.joint learns all tasks at once, so there is no earlier task for "
            f"{', '.join(given)}; leave one of them out."
        )
    if config is None or (method.adapter is None and not isinstance(config, TunerConfig)):
        return problems
    if _needs_task(method, config) and (joint or given):
        problems.append(
            f"{method.name!r} with these settings gives every task numbers of its own, which "
            f"{', '.join([*given, *['train.joint'] * joint])} would train for other tasks; choose "
            "a method whose tasks share their numbers."
        )
    elif beside["ewc.lam"]:
        problems += _ewc_problems(method, config, ewc.get("fisher", "adapter"))
    if beside["lwf.lam"] and method.restarts:
        problems.append(
            f"lwf lends the model the numbers from before the task, and {method.name!r} moves what "
            "it learned into frozen ones while a task lasts; leave lwf out, or use rehearsal."
        )
    if beside["lwf.lam"] and getattr(config, "boundary", "continue") == "restart":
        problems.append(
            "lwf distils the model from before the task, which boundary='restart' has changed when "
            "the task begins; give method.boundary=continue."
        )
    return problems


def _ewc_problems(method: Method, config: Any, fisher: str) -> list[str]:
    """Return why EWC cannot hold what this method learns."""
    if isinstance(config, TunerConfig):
        if config.mode == "through" and fisher == "adapter":
            return []
        return [
            "ewc holds the numbers that learn of PEFT's tuners, so it needs method.mode=through "
            "and ewc.fisher=adapter."
        ]
    if method.adapter is not None and fisher == "weights":
        if method.adapter.bias_numbers(1, 1, config, 0) == 0:
            return []
        return [
            f"ewc.fisher 'weights' holds W + ΔW, and {method.name!r} changes biases beside it; "
            "give ewc.fisher=adapter."
        ]
    if fisher != "adapter" or method.adapter is None or method.adapter.continues(config):
        return []
    return [
        f"ewc.fisher 'adapter' holds the numbers that learn, and {method.name!r} begins every task "
        "with new ones; give ewc.fisher=weights, which holds W + ΔW."
    ]


def _needs_task(method: Method, config: Any) -> bool:
    """Say whether every task has a function of its own, so that the task must be told."""
    if isinstance(config, TunerConfig):
        return config.mode == "per_task"
    return method.adapter is not None and method.adapter.needs_task(config)
