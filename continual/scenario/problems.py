"""Problems: what is wrong with what a user gave, where, and what would be right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from continual.errors import InputError, nearest

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9_-])?")
DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{one}{k}" for one in ("COM", "LPT") for k in range(10))}
NAME_RULE = "1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit, no '.' last"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong: where, what was given, what is allowed, and what may be meant."""

    path: str
    given: str
    allowed: str
    hint: str = ""

    def __str__(self) -> str:
        """Return the problem as one line."""
        where = f"{self.path}: " if self.path else ""
        hint = f" {self.hint[0].upper()}{self.hint[1:]}" if self.hint else ""
        return f"{where}got {self.given}; allowed: {self.allowed}.{hint}"

    def under(self, prefix: str) -> Problem:
        """Return the same problem, seen from the part of the file that contains `path`."""
        dot = "" if not self.path or self.path.startswith("[") or not prefix else "."
        return replace(self, path=f"{prefix}{dot}{self.path}")


def refuse(what: str, problems: Sequence[Problem]) -> None:
    """Raise an InputError that lists every problem; do nothing where there is none."""
    if len(problems) == 1:
        raise InputError(f"{what}: {problems[0]}")
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise InputError(f"{what} has {len(problems)} problems:\n{lines}")


def one_of(path: str, given: object, allowed: Iterable[str]) -> list[Problem]:
    """Return a problem where `given` is not one of the few words allowed."""
    words = [str(word) for word in allowed]
    if given in words:
        return []
    hint = nearest(str(given), words).removeprefix("; ")
    return [Problem(path=path, given=repr(given), allowed=", ".join(words), hint=hint)]


def name_problems(path: str, name: object) -> list[Problem]:
    """Return a problem where `name` cannot be used as a file name on every system."""
    if isinstance(name, str) and name.partition(".")[0].upper() in DEVICES:
        return [Problem(path=path, given=repr(name), allowed="a name that is no device of Windows")]
    if isinstance(name, str) and NAME.fullmatch(name):
        return []
    hint = "quote it, so that YAML reads text." if not isinstance(name, str) else ""
    return [Problem(path=path, given=repr(name), allowed=NAME_RULE, hint=hint)]


def distinct(path: str, words: Iterable[str]) -> list[Problem]:
    """Return the words that occur twice, are empty, or begin or end with white space."""
    words = list(words)
    problems = [
        Problem(path=path, given=f"{word!r} {count} times", allowed="each only once")
        for word, count in Counter(words).items()
        if count > 1
    ]
    bare = "text without white space around it"
    return problems + [
        Problem(path=f"{path}[{position}]", given=repr(word), allowed=bare)
        for position, word in enumerate(words)
        if not word or word != word.strip()
    ]
