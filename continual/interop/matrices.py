"""Retained accuracy matrices that came from elsewhere: files, and what other frameworks leave.

    CSV or JSON      a matrix, or what ``continual scores --json`` prints
    avalanche        ``eval_results.csv`` of its CSVLogger (accuracies with four decimals)
    mammoth          ``logs.pyd``: lines of Python literals, of which nothing is executed; percent
    trace            a folder of ``results-ROUND-NUMBER-TASK.json``

What a framework did not evaluate is NaN, and every score of ours that needs it is left out.
"""

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from continual.errors import InputError, unknown

FRAMEWORKS = ("avalanche", "mammoth", "trace")
TRACE_SCORES = ("accuracy", "similarity", "sari", "rouge-L")  # the first that a task has
MAMMOTH = re.compile(r"'accuracy_(\d+)_task(\d+)':\s*(?:np\.float\d+\()?([-+\d.eE]+|nan)")
TRACE = re.compile(r"results-(\d+)-(\d+)-(.+)\.json")


@dataclass(frozen=True, kw_only=True, eq=False)
class Foreign:
    """A matrix from elsewhere.

    Attributes:
        tasks: their names.
        R: score on task j after experience i, in [0, 1]; NaN where not evaluated.
        b: score on each task before training; None where nobody says.
    """

    tasks: tuple[str, ...]
    R: Float[np.ndarray, "T T"]
    b: Float[np.ndarray, " T"] | None


def read_matrix(text: str, *, percent: bool = False) -> Foreign:
    """Read R from the text of a CSV or JSON file.

    Args:
        text: CSV with one row per experience and, if it likes, a first row of task names; or JSON:
            a list of rows, or an object with ``matrix`` and, if it likes, ``tasks`` and
            ``baseline``. Empty, null and NaN mean not evaluated.
        percent: whether the scores are percentages.

    Raises:
        InputError: no square matrix of numbers, or scores outside [0, 1].
    """
    stripped = text.strip()
    if not stripped:
        raise InputError("there is no matrix: the input is empty.")
    found: dict[str, Any] = _from_json(stripped) if stripped[0] in "[{" else _from_csv(stripped)
    R = np.array([[_number(cell) for cell in row] for row in _rows(found["matrix"])])
    names = found.get("tasks") or [f"task {j + 1}" for j in range(R.shape[1])]
    if len(names) != R.shape[1]:
        raise InputError(f"there are {len(names)} task names for {R.shape[1]} columns.")
    b = found.get("baseline")
    if b is not None and len(b) != R.shape[1]:
        raise InputError(f"the baseline has {len(b)} scores for {R.shape[1]} tasks.")
    scale = 100.0 if percent else 1.0
    return _foreign(
        names, R / scale, None if b is None else np.array(list(map(_number, b))) / scale
    )


def read_framework(framework: str, path: Path) -> Foreign:
    """Read R from what another framework left.

    Args:
        framework: one of ``FRAMEWORKS``.
        path: a file; for trace, a folder.

    Raises:
        InputError: unknown framework, no such file, or nothing in it that is a score.
    """
    readers = {"avalanche": _avalanche, "mammoth": _mammoth, "trace": _trace}
    if framework not in readers:
        raise unknown("framework", framework, FRAMEWORKS)
    if not path.exists():
        raise InputError(f"there is no {path}; give what {framework} wrote.")
    cells, names, scale = readers[framework](path)
    if not cells:
        raise InputError(f"{path} holds no score that {framework} would have written.")
    count = 1 + max(max(i, j) for i, j in cells)
    R, b = np.full((count, count), np.nan), np.full(count, np.nan)
    for (i, j), value in cells.items():
        if i < 0:
            b[j] = value / scale
        else:
            R[i, j] = value / scale
    tasks = [names.get(j, f"task {j + 1}") for j in range(count)]
    return _foreign(tasks, R, None if np.isnan(b).all() else b)


Cells = dict[tuple[int, int], float]  # (experience, task) -> score; experience -1 is before


def _avalanche(path: Path) -> tuple[Cells, dict[int, str], float]:
    cells: Cells = {}
    for row in csv.DictReader(StringIO(path.read_text())):
        if not {"eval_exp", "training_exp", "eval_accuracy"} <= row.keys():
            raise InputError(f"{path} is no eval_results.csv of Avalanche; it has {list(row)}.")
        after = row["training_exp"]
        i = int(after) if after.lstrip("-").isdigit() else -1
        cells[max(i, -1), int(row["eval_exp"])] = float(row["eval_accuracy"])
    return cells, {}, 1.0


def _mammoth(path: Path) -> tuple[Cells, dict[int, str], float]:
    lines = [line for line in path.read_text().splitlines() if "'accuracy_" in line]
    if len(lines) > 1:
        raise InputError(
            f"{path} holds {len(lines)} runs; give a file with the line of one of them."
        )
    found = MAMMOTH.findall(lines[0]) if lines else []
    return {(int(i) - 1, int(j) - 1): float(value) for j, i, value in found}, {}, 100.0


def _trace(path: Path) -> tuple[Cells, dict[int, str], float]:
    if not path.is_dir():
        raise InputError(f"{path} is a file; TRACE leaves a folder of results-*.json.")
    cells: Cells = {}
    names: dict[int, str] = {}
    for file in sorted(path.iterdir()):
        match = TRACE.fullmatch(file.name)
        if match is None:
            continue
        i, j, name = int(match[1]), int(match[2]), match[3]
        scores = json.loads(file.read_text()).get("eval", {})
        key = next((key for key in TRACE_SCORES if key in scores), None)
        if key is None:
            raise InputError(f"{file} has none of the scores {list(TRACE_SCORES)}.")
        value = scores[key]
        value = value[0][key] if isinstance(value, list) else value
        cells[i, j] = value / 100.0 if key in ("similarity", "sari") else value
        names[j] = name
    return cells, names, 1.0


def _from_json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"the matrix is no JSON: {error}.") from error
    found = {"matrix": found} if isinstance(found, list) else found
    if "matrix" not in found:
        raise InputError(f"the JSON has no 'matrix'; it has {sorted(found)}.")
    return found


def _from_csv(text: str) -> dict[str, Any]:
    rows = [row for row in csv.reader(StringIO(text)) if any(cell.strip() for cell in row)]
    header = any(_is_word(cell) for cell in rows[0])
    return (
        {"tasks": [cell.strip() for cell in rows[0]], "matrix": rows[1:]}
        if header
        else {"matrix": rows}
    )


def _is_word(cell: str) -> bool:
    try:
        _number(cell)
    except InputError:
        return True
    return False


def _rows(matrix: Any) -> Sequence[Sequence[Any]]:
    rows = matrix if isinstance(matrix, list) else []
    lengths = {len(row) if isinstance(row, list) else -1 for row in rows}
    if not rows or lengths != {len(rows)}:
        raise InputError(
            f"R has one row per experience and one column per task, equally many; got {len(rows)} "
            f"rows of {sorted(lengths)} cells."
        )
    return rows


def _number(cell: Any) -> float:
    if cell is None or (isinstance(cell, str) and not cell.strip()):
        return math.nan
    try:
        return float(cell)
    except (TypeError, ValueError):
        raise InputError(f"a score must be a number or empty; got {cell!r}.") from None


def _foreign(tasks: Sequence[str], R: np.ndarray, b: np.ndarray | None) -> Foreign:
    every = R if b is None else np.vstack([R, b])
    wrong = every[(every < 0.0) | (every > 1.0)]
    if len(wrong):
        raise InputError(
            f"scores lie in [0, 1]; got {wrong[0]:g}. Give --percent if they are percentages."
        )
    return Foreign(tasks=tuple(map(str, tasks)), R=R, b=b)
