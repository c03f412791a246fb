"""What a definition needs of R before it may be read, and how to say that it is missing."""

from collections.abc import Sequence

import numpy as np

from continual.errors import InputError


class NotEvaluatedError(InputError):
    """A definition needs a score that this run does not have; `scores` answers None for it."""


def square(R: np.ndarray, name: str) -> int:
    """Return T of a T×T matrix with at least one task."""
    if R.ndim != 2 or R.shape[0] != R.shape[1] or R.shape[0] == 0:
        raise InputError(
            f"{name} needs R with one row per experience and one column per task, equally many; "
            f"got shape {R.shape}."
        )
    return R.shape[0]


def last_of_several(R: np.ndarray, name: str) -> int:
    """Return the index of the last experience of a matrix with at least two tasks."""
    tasks = square(R, name)
    if tasks < 2:
        raise NotEvaluatedError(f"{name} is not defined for a single task; run at least two tasks.")
    return tasks - 1


def need(R: np.ndarray, cells: Sequence[tuple[int, int]], name: str) -> None:
    """Refuse a matrix with a NaN in one of these (experience, task) cells."""
    for i, j in cells:
        if np.isnan(R[i, j]):
            raise NotEvaluatedError(
                f"{name} needs the score on task {j} after experience {i}, which was not "
                "evaluated. Finish the run, or choose a score that does not read it."
            )


def need_below(R: np.ndarray, name: str, tasks: int) -> None:
    """Refuse a NaN on or below the diagonal in the columns of the first tasks."""
    need(R, [(i, j) for i in range(R.shape[0]) for j in range(min(i + 1, tasks))], name)


def need_diagonal_and_last(R: np.ndarray, name: str, last: int) -> None:
    """Refuse a NaN among the earlier tasks' diagonal and last row."""
    need(R, [(j, j) for j in range(last)] + [(last, j) for j in range(last)], name)


def need_vector(values: np.ndarray, what: str, when: str, length: int, name: str) -> None:
    """Refuse a vector of another length or with a NaN; b[0] is never read."""
    if values.shape != (length,):
        raise InputError(f"{name} needs {what} of shape ({length},); got {values.shape}.")
    for j in range(1 if what == "b" else 0, length):
        if np.isnan(values[j]):
            raise NotEvaluatedError(f"{name} needs {what}[{j}], the score {when}; it is missing.")
