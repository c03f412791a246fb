"""Which methods can be types of PEFT's, under which name, and why the others cannot."""

from collections.abc import Callable, Mapping
from typing import Any

from continual.adapters import METHODS
from continual.adapters.base import Adapter
from continual.adapters.lora import LoRA
from continual.adapters.method import Method
from continual.adapters.registry import method_named
from continual.errors import InputError

# Words that already mean something else in PEFT: a type, or a setting of its LoRA.
TAKEN = frozenset(("DORA", "EVA", "GLORA", "LORA", "OLORA", "PISSA", "RANDLORA", "RSLORA"))
SHARING = {  # what one layer alone cannot hold, and PEFT's state is per layer
    "dynamic-dora": "one budget of ranks for all layers together",
    "lorta": "one tensor for all layers of a shape",
    "randlora": "random matrices that all layers share",
    "xgblora": "a draw of layers that rest, common to the whole model",
}
FROM_BASE = ("curlora", "dora", "glora")  # whose change is partly made of the frozen weight
_IDLE = {"glora": ("before_step", "after_step")}  # of its supernet, which cannot be a type
_HOOKS: Mapping[str, Callable[..., Any]] = {
    "penalty": Adapter.penalty,
    "before_step": Adapter.before_step,
    "after_backward": Adapter.after_backward,
    "after_step": Adapter.after_step,
}


def type_name(method: str) -> str:
    """Return the name of a method's type in PEFT's files.

    >>> type_name("curlora"), type_name("olora"), type_name("qr-lora")
    ('CURLORA', 'CONTINUAL_OLORA', 'QR_LORA')
    """
    upper = method.upper().replace("-", "_")
    return f"CONTINUAL_{upper}" if upper in TAKEN else upper


def class_name(method: str) -> str:
    """Return the name of a method's class of configurations.

    >>> class_name("curlora"), class_name("olora"), class_name("qr-lora")
    ('CurloraConfig', 'ContinualOloraConfig', 'QrLoraConfig')
    """
    return "".join(word.capitalize() for word in type_name(method).split("_")) + "Config"


def why_not(method: Method) -> str:
    """Return why a method cannot be a type of PEFT's; empty: it can."""
    kind = method.adapter
    if kind is None:
        return f"it has no adapter and trains {method.trains}"
    if kind is LoRA and method.name != "lora":
        return "it is LoRA under settings of a run, of which an adapter knows nothing"
    if method.name in SHARING:
        return f"it has {SHARING[method.name]}, and PEFT keeps every layer by itself"
    if kind.holds_base:
        return "its layers replace the frozen weight by their own, and PEFT always computes it"
    if method.identity > 0.0:
        return "fresh, it is the frozen weight up to rounding only, and PEFT counts on that weight"
    config = method.config()
    if kind.needs_task(config):
        return "every task has a function of its own, and PEFT tells a model no task"
    if kind.looks_at(config):
        return "it must see inputs of a task before it learns, and PEFT begins at once"
    return ""


def type_names() -> dict[str, str]:
    """Return every method that has a type, and the name of the type.

    >>> type_names()["nlora"]
    'NLORA'
    """
    return {name: type_name(name) for name, method in METHODS.items() if not why_not(method)}


def class_names() -> dict[str, str]:
    """Return the names of all classes of configurations, and their methods."""
    return {class_name(name): name for name in type_names()}


def refused() -> dict[str, str]:
    """Return every method that has no type, and the reason.

    >>> refused()["frozen"]
    'it has no adapter and trains nothing'
    """
    reasons = {name: why_not(method) for name, method in METHODS.items()}
    return {name: reason for name, reason in reasons.items() if reason}


def allowed(method: str) -> Method:
    """Return a method that has a type.

    Raises:
        InputError: unknown, or it has none; says why.
    """
    found = method_named(method)
    if reason := why_not(found):
        raise InputError(
            f"method {found.name!r} cannot be a type of PEFT's: {reason}. Those that can: "
            f"{sorted(type_names())}."
        )
    return found


def needs(method: str) -> tuple[str, ...]:
    """Return the functions of this package that a training of the method has to call.

    ``begin_task`` is among them where a new task changes what learns. With some settings a function
    then does nothing, as ``after_step`` for N-LoRA without a proximal penalty.

    Raises:
        InputError: the method has no type.

    >>> needs("nlora")
    ('begin_task', 'penalty', 'after_step')
    """
    found = allowed(method)
    kind = found.adapter
    assert kind is not None
    idle = _IDLE.get(found.name, ())
    called = {name: default for name, default in _HOOKS.items() if name not in idle}
    own = [name for name, default in called.items() if vars(kind).get(name, default) != default]
    return tuple(own if kind.continues(found.config()) else ["begin_task", *own])
