"""The book of a search: what was asked of it, and every trial, in two files that people can read.

    search.yaml     the question, which must not change while it is being answered
    trials.jsonl    one line a trial: its settings, its values by experience, how it ended

Both are replaced whole, so that a search that is killed goes on with what they say.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from continual.errors import InputError
from continual.records import DamagedFileError, write_atomic
from continual.records.directory import differences
from continual.studies.judging import Objective, better

QUESTION, TRIALS = "search.yaml", "trials.jsonl"


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Settings that were tried.

    Attributes:
        number: from 0.
        settings: by name, as train.lr.
        limits: by experience, the medians of those before it.
        state: asked; then complete, pruned, diverged, or refused (settings that cannot be).
        values: after every experience.
        why: what it said when it ended before its time.
    """

    number: int
    settings: Mapping[str, Any]
    limits: tuple[float | None, ...] = ()
    state: str = "asked"
    values: tuple[float, ...] = ()
    why: str = ""

    @property
    def name(self) -> str:
        """The name of its run directory."""
        return f"trial-{self.number:03d}"


def best_of(trials: Sequence[Trial], objective: Objective) -> Trial | None:
    """Return the trial with the best last value, the earliest of equals; None where none ended."""
    best = None
    for trial in trials:
        if trial.state == "complete" and (
            best is None or better(trial.values[-1], best.values[-1], objective)
        ):
            best = trial
    return best


def read_trials(folder: Path) -> list[Trial]:
    """Return the trials in the order of their numbers.

    Raises:
        DamagedFileError: a line that is no trial.
    """
    path = folder / TRIALS
    if not path.is_file():
        return []
    try:
        return [_trial(json.loads(line)) for line in path.read_text().splitlines()]
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedFileError(
            f"{path} is damaged ({error}). Restore it from a copy, or search in a new directory."
        ) from error


def _trial(said: dict[str, Any]) -> Trial:
    tuples = {key: tuple(said[key]) for key in ("limits", "values")}
    return Trial(**{**said, **tuples})


def write_trials(folder: Path, trials: Sequence[Trial]) -> None:
    """Replace the book's trials."""
    lines = [json.dumps(asdict(trial), allow_nan=False) for trial in trials]
    write_atomic(folder / TRIALS, ("\n".join(lines) + "\n").encode())


def open_book(folder: Path, question: Mapping[str, Any]) -> None:
    """Write the question down, or check that it is the one that is being answered there.

    Raises:
        InputError: the directory holds something else, or another search.
    """
    path = folder / QUESTION
    if path.is_file():
        there = yaml.safe_load(path.read_text())
        changed = differences(there, dict(question)) if isinstance(there, dict) else [str(there)]
        if changed:
            raise InputError(
                f"{folder} holds another search:\n  "
                + "\n  ".join(changed)
                + "\nAsk as before to go on with it, or give --out a new directory."
            )
        return
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is no search (it has no {QUESTION}); give --out a new path.")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(path, yaml.safe_dump(dict(question), sort_keys=False).encode())
