"""What a task, a probe and a scenario must satisfy: one list of problems, for Python and for YAML.

Every function takes the fields that are known so far and returns every problem it sees, so that a
field which is already wrong in another way can simply be left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from continual.scenario.problems import Problem, distinct, name_problems, one_of
from continual.scenario.values import (
    CLASSIFICATION,
    COLUMNS,
    KINDS,
    PROMPT,
    SCORES,
    SETTINGS,
    is_template,
)

ANSWERS = ("label", "target")
WRITTEN = ("text", "target")  # what may be written out of several columns of the data


def task_problems(fields: Mapping[str, Any]) -> list[Problem]:
    """Return everything that is wrong with the given fields of a task, whatever their source."""
    problems = name_problems("name", fields["name"]) if "name" in fields else []
    if "kind" in fields:
        found = one_of("kind", fields["kind"], KINDS)
        problems += found
        if not found:
            problems += _of_kind(fields["kind"], fields)
    if "prompt" in fields:
        problems += _prompt(fields["prompt"], fields.get("columns", {}))
    if "validation_fraction" in fields and not 0 <= fields["validation_fraction"] < 1:
        given = repr(fields["validation_fraction"])
        problems.append(Problem(path="validation_fraction", given=given, allowed="0 <= share < 1"))
    return problems


def _of_kind(kind: str, fields: Mapping[str, Any]) -> list[Problem]:
    problems: list[Problem] = []
    if fields.get("score"):
        problems += one_of("score", fields["score"], SCORES[kind])
    for key, column in fields.get("columns", {}).items():
        problems += one_of(f"columns.{key}", key, COLUMNS[kind])
        problems += _column(key, column, fields["columns"])
    promptless = kind in ("language-modeling", "image-classification")
    if promptless and fields.get("prompt", PROMPT) != PROMPT:
        given, allowed = repr(fields["prompt"]), f"no prompt: it has no effect on {kind}"
        problems.append(Problem(path="prompt", given=given, allowed=allowed))
    if "labels" in fields:
        problems += _labels(kind, fields)
    return problems


def _column(key: str, column: object, columns: Mapping[str, Any]) -> list[Problem]:
    """Return why `column` is neither a column of the data nor, for texts, a template over some."""
    path, allowed = f"columns.{key}", "the name of a column"
    if not isinstance(column, str) or not column:
        return [Problem(path=path, given=repr(column), allowed=allowed)]
    if not is_template(column):
        return []
    if key not in WRITTEN:
        hint = f"only {' and '.join(WRITTEN)} can be written out of several columns."
        return [Problem(path=path, given=repr(column), allowed=allowed, hint=hint)]
    try:
        names = prompt_fields(column)
    except ValueError as error:
        allowed = "text with {column} fields; write {{ and }} for braces"
        return [Problem(path=path, given=repr(column), allowed=allowed, hint=f"{error}.")]
    answers = {columns.get(answer, answer) for answer in ANSWERS} if key == "text" else set()
    allowed = "columns that are not the answer"
    return [
        Problem(path=path, given=f"{{{name}}}", allowed=allowed)
        for name in names
        if name in answers
    ]


def _labels(kind: str, fields: Mapping[str, Any]) -> list[Problem]:
    labels, texts = fields["labels"], fields.get("verbalizers", ())
    classes = fields.get("classes")
    if kind not in CLASSIFICATION:
        names = fields.get("label_names")
        given = [("labels", labels), ("verbalizers", texts), ("classes", classes)]
        given += [("label_names", names)]
        return [
            Problem(path=path, given=str(list(value)), allowed=f"none: {kind} has no labels")
            for path, value in given
            if value
        ]
    if not labels:
        allowed = f"the list of class names, which {kind} needs"
        return [Problem(path="labels", given="none", allowed=allowed)]
    problems = distinct("labels", labels) + distinct("verbalizers", texts)
    if texts and len(texts) != len(labels):
        given, allowed = f"{len(texts)} texts", f"one for each of the {len(labels)} labels"
        problems.append(Problem(path="verbalizers", given=given, allowed=allowed))
    for name, label in fields.get("label_names", {}).items():
        problems += one_of(f"label_names.{name}", label, labels)
    if classes is not None:
        problems += distinct("classes", classes)
        for position, name in enumerate(classes):
            problems += one_of(f"classes[{position}]", name, labels)
        if not classes:
            problems.append(Problem(path="classes", given="[]", allowed="one label or more"))
    return problems


def prompt_fields(prompt: str) -> tuple[str, ...]:
    """Return the distinct columns that a prompt template names, in order.

    >>> prompt_fields("{text} / {title} / {text}")
    ('text', 'title')

    Raises:
        ValueError: the template is malformed, or asks for more than plain columns.
    """
    names: dict[str, None] = {}
    for _, name, specification, conversion in Formatter().parse(prompt):
        if name is None:
            continue
        if not name.isidentifier() or specification or conversion:
            raise ValueError(f"the field {name!r} is not the plain name of a column")
        names[name] = None
    return tuple(names)


def _prompt(prompt: str, columns: Mapping[str, Any]) -> list[Problem]:
    allowed = "text with {column} fields; write {{ and }} for braces"
    try:
        names = prompt_fields(prompt)
    except ValueError as error:
        return [Problem(path="prompt", given=repr(prompt), allowed=allowed, hint=f"{error}.")]
    if not names:
        hint = "without a field every example has the same prompt."
        return [Problem(path="prompt", given=repr(prompt), allowed=allowed, hint=hint)]
    answers = {*ANSWERS, *(columns[key] for key in ANSWERS if key in columns)}
    return [
        Problem(path="prompt", given=f"{{{name}}}", allowed="fields that are not the answer")
        for name in names
        if name in answers and name != "text"
    ]


def scenario_problems(
    setting: object, task_names: Sequence[object], probe_names: Sequence[object]
) -> list[Problem]:
    """Return what is wrong with the setting and with the names of tasks and probes together."""
    problems = one_of("setting", setting, SETTINGS)
    seen: dict[str, str] = {}
    paths = [(f"tasks[{i}].name", name) for i, name in enumerate(task_names)]
    paths += [(f"probes[{i}].name", name) for i, name in enumerate(probe_names)]
    for path, name in paths:
        if not isinstance(name, str):
            continue
        other = seen.setdefault(name.lower(), path)
        if other != path:
            allowed = f"a name that differs, also in lower case, from {other}"
            problems.append(Problem(path=path, given=repr(name), allowed=allowed))
    return problems


def order_problems(path: str, order: Sequence[str], names: Sequence[str]) -> list[Problem]:
    """Return why `order` is not a permutation of the task names."""
    problems = [
        found for i, name in enumerate(order) for found in one_of(f"{path}[{i}]", name, names)
    ]
    problems += distinct(path, order)
    if missing := [name for name in names if name not in order]:
        hint = f"missing: {', '.join(missing)}."
        problems.append(
            Problem(path=path, given=f"{len(order)} names", allowed="every task once", hint=hint)
        )
    return problems
