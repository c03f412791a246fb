"""The structure of a scenario file: what pydantic refuses, as problems with a path and a hint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from continual.errors import nearest
from continual.scenario.problems import Problem, one_of
from continual.scenario.schema import (
    DefaultsSection,
    LimitSection,
    ProbeSection,
    ScenarioSection,
    SplitSection,
    TaskSection,
)
from continual.scenario.source_schema import (
    SOURCES,
    CallableSection,
    FileSection,
    HubSection,
    LocalSection,
)
from continual.scenario.values import KINDS, SCORES, SETTINGS

WORDS = {
    "kind": KINDS,
    "setting": SETTINGS,
    "score": tuple(dict.fromkeys(word for words in SCORES.values() for word in words)),
    "sample_by": ("line", "paragraph", "document"),
}
BOOLEAN = "YAML reads yes, no, on, off, true and false as booleans; quote the word."


def structure_problems(values: Mapping[Any, Any]) -> list[Problem]:
    """Return every key and every type that a scenario file may not have."""
    try:
        ScenarioSection.model_validate(dict(values))
    except ValidationError as error:
        return [_problem(values, found) for found in error.errors(include_url=False)]
    return []


def _problem(values: Mapping[Any, Any], found: Mapping[str, Any]) -> Problem:
    steps = [step for step in found["loc"] if not str(step).startswith("[")]
    if found["loc"] and found["loc"][-1] == "[key]":
        steps.pop()  # the key itself is what was given
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    path = path.removeprefix(".")
    kind, given = found["type"], repr(found["input"])
    last = str(steps[-1]) if steps else ""
    if kind == "extra_forbidden":
        known = list(_model_at(found["loc"]).model_fields)
        hint = nearest(last, known).removeprefix("; ")
        given = f"the unknown key {last!r}"
        return Problem(path=path, given=given, allowed=", ".join(known), hint=hint)
    if kind == "missing":
        return Problem(path=path, given="nothing", allowed="a value: this key is required")
    if kind == "union_tag_not_found":
        keys = list(found["input"]) if isinstance(found["input"], dict) else [given]
        near = [n for key in keys if (n := nearest(str(key), SOURCES))]
        allowed = f"a mapping with one of {', '.join(SOURCES)}"
        hint = near[0].removeprefix("; ") if near else ""
        return Problem(path=path, given=_short(given), allowed=allowed, hint=hint)
    if kind == "literal_error":
        return one_of(path, found["input"], WORDS[last])[0]
    hint = BOOLEAN if isinstance(found["input"], bool) else ""
    if kind == "string_type" and not isinstance(found["input"], bool | list | dict | None):
        hint = "quote it, so that YAML reads text."
    return Problem(path=path, given=_short(given), allowed=_expected(found), hint=hint)


def _expected(found: Mapping[str, Any]) -> str:
    kind = found["type"]
    if kind == "invalid_key":
        return "a key that is text"
    if kind == "string_pattern_mismatch":
        return "'module:function'"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "a mapping"
    text = str(found["msg"]).removeprefix("Input should be ").removeprefix("a valid ")
    return f"a {text}" if text in ("string", "integer", "list", "number", "dictionary") else text


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"


def _model_at(location: Sequence[int | str]) -> type[BaseModel]:
    """Return the section that a location of pydantic lies in."""
    models: dict[str, type[BaseModel]] = {
        "tasks": TaskSection,
        "split": SplitSection,
        "probes": ProbeSection,
        "defaults": DefaultsSection,
        "limit": LimitSection,
        "[hub]": HubSection,
        "[file]": FileSection,
        "[callable]": CallableSection,
        "[local]": LocalSection,
    }
    inner = [models[step] for step in map(str, location[:-1]) if step in models]
    return inner[-1] if inner else ScenarioSection
