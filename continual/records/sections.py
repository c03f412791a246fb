"""The sections of run.yaml: what a user gave, checked against what a section takes."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from continual.errors import nearest


def section_problems(model: type[BaseModel], values: Any, where: str) -> list[str]:
    """Return what is wrong with the values of a section, one sentence each.

    Args:
        model: the section.
        values: what a user gave.
        where: how the user named the section.
    """
    try:
        model.model_validate(values)
    except ValidationError as error:
        return [_sentence(where, one, list(model.model_fields)) for one in error.errors()]
    return []


def _sentence(where: str, error: Mapping[str, Any], allowed: list[str]) -> str:
    path = ".".join([where, *(str(part) for part in error["loc"])])
    if not error["loc"]:  # the settings do not fit together
        return f"{path}: {error['msg'].removeprefix('Value error, ')}."
    if error["type"] == "extra_forbidden":
        word = str(error["loc"][-1])
        return f"{path}: unknown name; known: {allowed}{nearest(word, allowed) or '.'}"
    return f"{path}: got {error['input']!r}; {error['msg'][:1].lower()}{error['msg'][1:]}."
