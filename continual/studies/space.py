"""What a search tries: settings with their ranges or values.

train.lr=1e-4..1e-1:log      any number between the two, evenly on a logarithmic scale
train.epochs=1..5            whole numbers, both ends included
method.rank=4,8,16           one of these
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from continual.errors import InputError
from continual.runs.settings import parse_value, resolve
from continual.scenario import Scenario
from continual.studies.grid import apart

SEARCHED = ("train", "method", "rehearsal", "ewc", "lwf")  # the others change what is measured
RANGE = re.compile(r"\s*([^\s,]+?)\.\.([^\s,:]+)\s*(?::\s*(\w+))?\s*")
EXAMPLES = "as in train.lr=1e-4..1e-1:log, train.epochs=1..5 or method.rank=4,8,16"


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One setting that is searched.

    Attributes:
        name: as ``--set`` takes it.
        ends: the lowest and the highest value of a range; None where there are choices.
        log: whether the range is logarithmic.
        choices: what is tried otherwise.
    """

    name: str
    ends: tuple[int, int] | tuple[float, float] | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    def corners(self) -> tuple[Any, ...]:
        """Return values that stand for all: the ends, or every choice."""
        return self.ends or self.choices

    def written(self) -> str:
        """Return it as ``--space`` takes it."""
        if self.ends is None:
            return f"{self.name}={','.join(json.dumps(value) for value in self.choices)}"
        low, high = self.ends
        return f"{self.name}={low!r}..{high!r}{':log' * self.log}"


def parse_space(texts: Sequence[str]) -> tuple[Axis, ...]:
    """Read what ``--space`` takes.

    >>> [axis.corners() for axis in parse_space(["train.lr=1e-3..0.1:log", "method.rank=4,8"])]
    [(0.001, 0.1), (4, 8)]

    Raises:
        InputError: a text that is no setting with a range or values; a setting said twice.
    """
    named: dict[str, Any] = {}
    for text in texts:
        name, equals, given = text.partition("=")
        if not equals or not given.strip():
            raise InputError(f"--space takes NAME=VALUES, {EXAMPLES}; got {text!r}.")
        if name.strip() in named:
            raise InputError(f"--space names {name.strip()} more than once.")
        named[name.strip()] = given
    return axes(named)


def axes(space: Mapping[str, Any]) -> tuple[Axis, ...]:
    """Read a space by names: a text as ``--space`` has it behind ``=``, or a list of values.

    Raises:
        InputError: nothing to search, or something that is no range and no values.
    """
    if not space:
        raise InputError(f"a search needs at least one --space, {EXAMPLES}.")
    return tuple(_axis(name, given) for name, given in space.items())


def _axis(name: str, given: Any) -> Axis:
    section, _, own = name.partition(".")
    if section not in SEARCHED or not own:
        raise InputError(
            f"--space {name}: only settings of {', '.join(SEARCHED)} are searched, as train.lr; "
            "the others change what is measured. Give them by --set."
        )
    if isinstance(given, str) and (found := RANGE.fullmatch(given)):
        return _range(name, *found.groups())
    texts = apart(given) if isinstance(given, str) else given
    if not isinstance(texts, list):
        raise InputError(f"--space {name} takes a range or values, {EXAMPLES}; got {given!r}.")
    values = [parse_value(one, name) if isinstance(one, str) else one for one in texts]
    if len({json.dumps(value) for value in values}) < max(2, len(values)):
        raise InputError(
            f"--space {name} needs at least two values, no two of them equal; got {given!r}. One "
            "value goes behind --set."
        )
    return Axis(name=name, choices=tuple(values))


def _range(name: str, low: str, high: str, scale: str | None) -> Axis:
    ends = [parse_value(end, name) for end in (low, high)]
    wrong = [end for end in ends if isinstance(end, bool) or not isinstance(end, int | float)]
    if wrong or not ends[0] < ends[1]:
        raise InputError(f"--space {name}: {low}..{high} must be two rising numbers.")
    if scale not in (None, "log"):
        raise InputError(f"--space {name}: a range may end in :log; got :{scale}.")
    if scale and ends[0] <= 0:
        raise InputError(f"--space {name}: a logarithmic range begins above 0; got {low}.")
    whole = all(isinstance(end, int) for end in ends)
    kind = int if whole else float
    return Axis(name=name, ends=(kind(ends[0]), kind(ends[1])), log=scale == "log")


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with these values on top, by names such as train.lr."""
    found = dict(settings)
    for name, value in values.items():
        section, _, own = name.partition(".")
        found[section] = {**found.get(section, {}), own: value}
    return found


def check_space(
    space: Sequence[Axis],
    scenario: Scenario,
    method: str,
    *,
    backbone: str | None,
    settings: Mapping[str, Any],
) -> None:
    """Raise ``InputError`` unless both ends, or every value, of each setting can be used."""
    first = {axis.name: axis.corners()[0] for axis in space}
    for axis in space:
        section, _, own = axis.name.partition(".")
        if own in settings.get(section, {}):
            raise InputError(
                f"{axis.name} is given by --set and searched by --space; leave out one."
            )
        for value in axis.corners():
            tried = with_values(settings, {**first, axis.name: value})
            try:
                resolve(scenario, method, backbone=backbone, seed=0, settings=tried)
            except InputError as error:
                raise InputError(f"--space {axis.written()}: with {value!r}, {error}") from error
