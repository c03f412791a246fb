"""R and the probes' nats once more, from examples.parquet and tokens.parquet."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from continual.records.rows import PROBE_NATS, ExampleRow, ScoreRow, TokenRow

NATS = "nats_per_token"
TOLERANCE = 1e-9  # of two sums of the same numbers, relative to the larger
WEIGHED = "token_accuracy"  # by the tokens of each example, which examples.parquet does not have


class Difference(NamedTuple):
    """Where scores.parquet and what it can be recomputed from disagree."""

    experience: int
    task: str
    metric: str
    written: float
    recomputed: float

    def __str__(self) -> str:
        """Say where and what."""
        return (
            f"{self.metric} of {self.task} after experience {self.experience}: "
            f"{self.written!r} is written, {self.recomputed!r} follows from the rows"
        )


def means(examples: Sequence[ExampleRow]) -> dict[tuple[int, str], float]:
    """Return the mean score of every task after every experience: R, but for weighed scores."""
    groups: dict[tuple[int, str], list[float]] = {}
    for row in examples:
        groups.setdefault((row.experience, row.task), []).append(row.correct)
    return {key: math.fsum(found) / len(found) for key, found in groups.items()}


def recount(
    scores: Sequence[ScoreRow],
    examples: Sequence[ExampleRow],
    metrics: Mapping[str, str],
    through: int,
) -> tuple[int, list[Difference]]:
    """Recompute what can be of the scores of tasks at boundaries.

    Args:
        scores: of scores.parquet.
        examples: of examples.parquet.
        metrics: the score id of every task.
        through: the last experience whose rows are all written.

    Returns:
        How many scores were recomputed, and those that are not what is written.
    """
    values, counts = _latest(scores)
    nats: dict[tuple[int, str], float] = {}
    for row in examples:
        at = (row.experience, row.task)
        nats[at] = nats.get(at, 0.0) + row.nats
    wanted: dict[tuple[int, str, str], float] = {}
    for (experience, task), mean in means(examples).items():
        if metrics.get(task, WEIGHED) != WEIGHED:
            wanted[experience, task, metrics[task]] = mean
        tokens = counts.get((experience, task, NATS), 0)
        wanted[experience, task, NATS] = nats[experience, task] / tokens if tokens else math.nan
    found = {key: value for key, value in wanted.items() if key[0] <= through}
    lacking = {
        (row.experience, row.task, row.metric): math.nan
        for row in scores
        if metrics.get(row.task, WEIGHED) == row.metric != WEIGHED
        and (row.experience, row.task) not in nats
        and row.experience <= through
        and row.experience in {at for at, _ in nats}
    }
    found |= lacking
    different = [
        Difference(*key, values.get(key, math.nan), value)
        for key, value in found.items()
        if not _same(values.get(key, math.nan), value)
    ]
    return len(found), different


def recount_probes(
    scores: Sequence[ScoreRow], tokens: Sequence[TokenRow], through: int
) -> tuple[int, list[Difference]]:
    """Recompute nats per token of every probe before training and at the last boundary."""
    values, _ = _latest(scores)
    groups: dict[str, list[TokenRow]] = {}
    for row in tokens:
        groups.setdefault(row.probe, []).append(row)
    different, count = [], 0
    for probe, rows in groups.items():
        before = math.fsum(row.before for row in rows) / len(rows)
        after = math.fsum(row.after for row in rows) / len(rows)  # NaN: not known, after a fork
        moments = sorted(e for e, name, metric in values if (name, metric) == (probe, PROBE_NATS))
        last = [e for e in moments if e in (through, through + 1)]  # one may just be written
        checked = [([-1], before)] + ([(last, after)] if last and after == after else [])
        for at, mean in checked:
            count += 1
            written = [values.get((e, probe, PROBE_NATS), math.nan) for e in at]
            if not any(_same(value, mean) for value in written):
                different.append(Difference(at[0], probe, PROBE_NATS, written[0], mean))
    return count, different


def _latest(
    scores: Sequence[ScoreRow],
) -> tuple[dict[tuple[int, str, str], float], dict[tuple[int, str, str], int]]:
    """Return values and counts by moment, task and metric; the last step of each counts."""
    rows = sorted(scores, key=lambda row: row.step)
    keys = [(row.experience, row.task, row.metric) for row in rows]
    values = {key: row.value for key, row in zip(keys, rows, strict=True)}
    return values, {key: row.n for key, row in zip(keys, rows, strict=True)}


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
