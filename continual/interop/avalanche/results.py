"""What an Avalanche strategy has evaluated, as R: every score of ours is a function of that."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from continual.errors import InputError
from continual.interop.matrices import Foreign

METRIC = "Top1_Acc_Exp"  # of avalanche.evaluation.metrics.accuracy_metrics(experience=True)
KEY = re.compile(r"(.+)/eval_phase/(.+)_stream(?:/Task(\d+))?/Exp(\d+)")


def read_results(
    evaluations: Sequence[Mapping[str, float]],
    *,
    before: Mapping[str, float] | None = None,
    metric: str = METRIC,
    stream: str = "test",
    tasks: Sequence[str] | None = None,
) -> Foreign:
    """Return R and b from what ``strategy.eval(benchmark.test_stream)`` returned.

    Avalanche's dictionaries hold the last value of every metric, however old: evaluate the whole
    stream every time, or an old value stands for a new one.

    Args:
        evaluations: one dictionary per train experience, in order: what was evaluated after it.
        before: what was evaluated before any training; None leaves b out.
        metric: the name that begins the keys; its values lie in [0, 1].
        stream: the name of the evaluated stream.
        tasks: their names; None numbers them.

    Raises:
        InputError: a dictionary without values of that metric and stream, other than one test
            experience per train experience, or values outside [0, 1].
    """
    rows = [_row(one, metric, stream, f"evaluation {i}") for i, one in enumerate(evaluations)]
    first = {} if before is None else _row(before, metric, stream, "before")
    count = len(rows)
    for row in [*rows, *([first] if first else [])]:
        if sorted(row) != list(range(count)):
            raise InputError(
                f"there are {count} evaluations, and one has the experiences {sorted(row)}; R "
                "needs one test experience per train experience, all evaluated each time."
            )
    if tasks is not None and len(tasks) != count:
        raise InputError(f"there are {len(tasks)} task names for {count} experiences.")
    R = np.array([[row[j] for j in range(count)] for row in rows]).reshape(count, count)
    b = np.array([first[j] for j in range(count)]) if first else None
    wrong = [x for x in [*R.ravel(), *([] if b is None else b)] if not 0.0 <= x <= 1.0]
    if wrong or not count:
        what = f"got {wrong[0]:g}" if wrong else "there are none"
        raise InputError(f"R holds scores in [0, 1]; {what}. Is {metric!r} an accuracy?")
    names = tasks or [f"task {j + 1}" for j in range(count)]
    return Foreign(tasks=tuple(map(str, names)), R=R, b=b)


def _row(results: Mapping[str, float], metric: str, stream: str, where: str) -> dict[int, float]:
    """Return experience -> value."""
    found: dict[int, float] = {}
    for key, value in results.items():
        match = KEY.fullmatch(key)
        if match and match[1] == metric and match[2] == stream:
            j = int(match[4])
            if j in found:
                raise InputError(
                    f"{where} has several values for experience {j}, of several task labels; R "
                    "has one per task."
                )
            found[j] = float(value)
    if not found:
        raise InputError(
            f"{where} has no {metric!r} of the stream {stream!r}; it has {sorted(results)[:6]}. "
            "Give the strategy EvaluationPlugin(accuracy_metrics(experience=True))."
        )
    return found
