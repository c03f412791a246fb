"""Methods of ours as types of PEFT's own: ``get_peft_model`` and everything behind it.

    from continual.interop.peft_types import CurloraConfig

    model = get_peft_model(model, CurloraConfig(rank=8, target_modules=["q_proj", "v_proj"]))

A class of configurations is registered with PEFT when it is first asked for; before files of any of
these types are loaded, call ``register_methods()``.

PEFT knows no tasks and no penalties. Who trains such a model calls ``begin_task(model, k)`` where a
task begins, adds ``penalty(model)`` to the loss once per optimiser step, and around the step calls
``before_step``, ``after_backward`` and ``after_step``, as far as the method has any use for them
(``needs`` says so). Without these calls a method is trained as on one single task.

    names       which methods have a type, under which name, and why the others have none
    config      their configurations
    layer       the adapted layer, with one adapter per PEFT adapter
    tuner       building, naming and loading them all
    maps        into PEFT's maps
    tasks       what PEFT does not call

Importing this package does not import peft; its names do when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from continual._torchvision import ensure_torchvision
from continual.errors import nearest

if TYPE_CHECKING:
    from continual.interop.peft_types.maps import register as register
    from continual.interop.peft_types.maps import register_methods as register_methods
    from continual.interop.peft_types.names import needs as needs
    from continual.interop.peft_types.names import refused as refused
    from continual.interop.peft_types.names import type_names as type_names
    from continual.interop.peft_types.tasks import after_backward as after_backward
    from continual.interop.peft_types.tasks import after_step as after_step
    from continual.interop.peft_types.tasks import before_step as before_step
    from continual.interop.peft_types.tasks import begin_task as begin_task
    from continual.interop.peft_types.tasks import current_task as current_task
    from continual.interop.peft_types.tasks import penalty as penalty

ensure_torchvision()  # before peft

_HOMES = {
    "after_backward": "tasks",
    "after_step": "tasks",
    "before_step": "tasks",
    "begin_task": "tasks",
    "current_task": "tasks",
    "needs": "names",
    "penalty": "tasks",
    "refused": "names",
    "register": "maps",
    "register_methods": "maps",
    "type_names": "names",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return vars(import_module(f"{__name__}.{_HOMES[name]}"))[name]
    names = import_module(f"{__name__}.names")
    if name in (classes := names.class_names()):  # also how an unpickled configuration finds it
        return import_module(f"{__name__}.maps").register(classes[name])
    known = __dir__()
    close = nearest(name, known)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{close}; it has {known}.")


def __dir__() -> list[str]:
    names = import_module(f"{__name__}.names")
    return [*__all__, *names.class_names()]
