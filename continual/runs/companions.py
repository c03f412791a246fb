"""Which of rehearsal, penalties, joint training and a method cannot go with each other."""

from collections.abc import Mapping
from typing import Any

from continual.adapters import Adaptation
from continual.adapters.lora import LoRA
from continual.adapters.method import Method
from continual.backbone import Backbone
from continual.errors import InputError
from continual.interop.tuners.names import holds_weights
from continual.interop.tuners.settings import TunerConfig
from continual.scenario import Scenario
from continual.training.config import TrainConfig
from continual.training.loko import MOST_CLASSES
from continual.training.pairs import pairs_of


def check_optimiser(
    scenario: Scenario, backbone: Backbone, adaptation: Adaptation, config: TrainConfig
) -> None:
    """Raise ``InputError`` where the optimiser can do nothing with what is attached."""
    if config.optimiser == "loko":
        _check_classes(scenario, backbone)
    elif config.optimiser != "adamw" and not pairs_of(adaptation):
        raise InputError(no_pair(config.optimiser, adaptation.method))


def _check_classes(scenario: Scenario, backbone: Backbone) -> None:
    """Raise ``InputError`` where an example has too many outcomes for a Kalman filter."""
    if backbone.heads.width == 0:
        raise InputError(
            f"train.optimiser 'loko' measures one example of few classes at a time, and backbone "
            f"{backbone.name!r} answers with its vocabulary; give backbone.heads=true, or choose a "
            "backbone with heads."
        )
    for i, task in enumerate(scenario.tasks):
        found = scenario.candidates(i, i)
        classes = len(found.labels) if found is not None else 0
        if not 0 < classes <= MOST_CLASSES:
            raise InputError(
                f"train.optimiser 'loko' makes a backward pass per class and example, so it takes "
                f"1 to {MOST_CLASSES} classes; task {task.name!r} has {classes}. Take 'adamw'."
            )


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
    if optimiser == "loko":
        problems += _filter_problems(merged, method)
    elif method.adapter is None and optimiser != "adamw":
        problems.append(no_pair(optimiser, method))
    if joint and given:
        problems.append(
            f"train.joint learns all tasks at once, so there is no earlier task for "
            f"{', '.join(given)}; leave one of them out."
        )
    if config is None or (method.adapter is None and not isinstance(config, TunerConfig)):
        return problems
    if isinstance(config, TunerConfig) and merged["train"].get("weight_decay"):
        problems += _decay_problems(method, config)
    if needs_task(method, config) and (joint or given):
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


def _decay_problems(method: Method, config: TunerConfig) -> list[str]:
    """Return why weight decay would erase the backbone."""
    if not holds_weights(config.tuner, config.fields):
        return []
    return [
        f"train.weight_decay draws what learns to zero, and with {method.name!r} that is part of "
        "the backbone's own weights, or a factor of them; give train.weight_decay=0, or a method "
        "of ours that decays to its start, as qr-lora and dora do."
    ]


def _filter_problems(merged: Mapping[str, Any], method: Method) -> list[str]:
    """Return why a Kalman filter cannot estimate what this method learns, under these settings."""
    problems, train = [], {**TrainConfig().model_dump(), **merged["train"]}
    if method.adapter is not LoRA and method.trains != "heads":
        problems.append(
            f"train.optimiser 'loko' estimates one LoRA or heads, and {method.name!r} has a rule, "
            "a penalty or parameters of its own; choose lora, joint, replay or head-only."
        )
    plain = {"clip": None, "micro_batch_size": None, "weight_decay": 0.0}
    given = [f"train.{name}" for name, value in plain.items() if train[name] != value]
    given += [f"{name}.lam" for name in ("ewc", "lwf") if merged[name].get("lam")]
    if given:
        problems.append(
            f"train.optimiser 'loko' has no gradient of a loss for {', '.join(given)} to act on; "
            "give train.clip=null and leave out the others."
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


def needs_task(method: Method, config: Any) -> bool:
    """Say whether every task has a function of its own, so that the task must be told."""
    if isinstance(config, TunerConfig):
        return config.mode == "per_task"
    return method.adapter is not None and method.adapter.needs_task(config)
