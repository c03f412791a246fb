"""Put methods of ours into PEFT's maps, so that its own functions know them."""

from collections.abc import Iterable
from importlib.metadata import version

from peft import mapping

from continual.errors import InputError
from continual.interop.peft_types.config import MethodConfig, config_class
from continual.interop.peft_types.names import allowed, type_names
from continual.interop.peft_types.tuner import AdapterTuner

OLDEST = (0, 21)  # before, PEFT knew the types of its own enumeration only


def register(method: str) -> type[MethodConfig]:
    """Let PEFT know a method, and return its class of configurations; again is no harm.

    Args:
        method: a name in ``METHODS`` or an alias, such as "curlora".

    Raises:
        InputError: the method is unknown or has no type, PEFT is too old, or it has another type of
            that name.
    """
    if tuple(int(part) for part in version("peft").split(".")[:2]) < OLDEST:
        raise InputError(
            f"types of PEFT's need peft>=0.21; here is {version('peft')}. Upgrade it with pip."
        )
    found = config_class(allowed(method).name)
    known = mapping.PEFT_TYPE_TO_CONFIG_MAPPING
    if known.get(found.TYPE, found) is not found:  # pyright: ignore[reportArgumentType, reportCallIssue]
        raise InputError(
            f"PEFT already has a type {found.TYPE!s} that is not ours; nothing was registered."
        )
    for types, value in (
        (mapping.PEFT_TYPE_TO_PREFIX_MAPPING, AdapterTuner.prefix),
        (mapping.PEFT_TYPE_TO_TUNER_MAPPING, AdapterTuner),
        (known, found),
    ):
        types[found.TYPE] = value  # pyright: ignore[reportArgumentType]
    return found


def register_methods(names: Iterable[str] | None = None) -> dict[str, type[MethodConfig]]:
    """Let PEFT know several methods; return their classes of configurations by name.

    Args:
        names: of methods; None takes every method that can be a type of PEFT's.

    Raises:
        InputError: as ``register``; those named before are registered then.
    """
    return {name: register(name) for name in (type_names() if names is None else names)}
