"""A method's settings, from what a file or the command line gives to its frozen config."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from continual.adapters.method import Method
from continual.adapters.registry import method_named
from continual.errors import InputError, nearest


def configure(method: str, settings: Mapping[str, Any]) -> Any:
    """Return a method's config with some settings changed, as a file or the command line give them.

    Raises:
        InputError: unknown method, or every setting that is unknown or out of range.

    >>> configure("lora", {"rank": 4})
    LoRAConfig(rank=4, alpha=16.0)
    """
    kind = method_named(method).config
    known = [one.name for one in fields(kind)]
    problems = [
        f"method.{name}: unknown option of {kind.__name__}; known: {[*known, 'targets']}"
        f"{nearest(name, known) or '.'}"
        for name in settings
        if name not in known
    ]
    if problems:
        raise InputError("\n".join(problems))
    try:
        return TypeAdapter(kind).validate_python(dict(settings))
    except ValidationError as error:
        raise InputError("\n".join(_sentence(one) for one in error.errors())) from error


def _sentence(error: Mapping[str, Any]) -> str:
    path = ".".join(["method", *(str(part) for part in error["loc"])])
    said = str(error["msg"]).removeprefix("Value error, ")
    given = f"got {error['input']!r}; " if error["loc"] else ""
    return f"{path}: {given}{said[:1].lower()}{said[1:]}".rstrip(".") + "."


def check_config(method: Method, config: object | None) -> Any:
    """Return ``config``, or the method's defaults for None.

    Raises:
        InputError: a config of another method.
    """
    if config is None:
        return method.config()
    if not isinstance(config, method.config):
        raise InputError(
            f"method {method.name!r} is configured by {method.config.__name__}; "
            f"got {type(config).__name__}."
        )
    return config
