"""The examples that a run had right after learning their task and has wrong at its end."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from continual.records import ExampleRow, RunRecord
from continual.reports.tables import Table, number_text

RIGHT = 0.5  # a graded example (its share of tokens, its ROUGE-L, ...) counts as right from here on
GRADED = ("token_accuracy", "rouge_l", "edit_similarity", "sari")
LONGEST = 160  # letters of a prediction that are shown


@dataclass(frozen=True, kw_only=True)
class Flips:
    """What became of one task's examples.

    Attributes:
        task: its name.
        lost: pairs of rows, right when learned and wrong at the end, worst first.
        blamed: for each of them the task whose learning turned it wrong for good; where moments in
            between were not evaluated, the one after which that was first seen.
        gained: how many went the other way.
        total: how many examples both rows know.
        score: the task's score id.
    """

    task: str
    lost: tuple[tuple[ExampleRow, ExampleRow], ...]
    blamed: tuple[str, ...]
    gained: int
    total: int
    score: str


def negative_flips(record: RunRecord) -> tuple[Flips, ...]:
    """Compare every earlier task's row after learning it with its last row, example by example.

    Worst first: by how many nats the true answer lost. Tasks without both rows are left out.

    Raises:
        DamagedFileError: examples.parquet cannot be read back.
    """
    by_moment: dict[tuple[str, int], dict[str, ExampleRow]] = {}
    for row in record.examples():
        by_moment.setdefault((row.task, row.experience), {})[row.id] = row
    found = []
    last = len(record.tasks) - 1
    for j, (task, score) in enumerate(zip(record.tasks[:-1], record.score_ids, strict=False)):
        learned, final = by_moment.get((task, j)), by_moment.get((task, last))
        if learned and final:
            moments = {i: rows for i in range(j, last + 1) if (rows := by_moment.get((task, i)))}
            found.append(_flips(task, score, moments, record.tasks))
    return tuple(found)


def flips_table(flips: Flips, top: int = 5) -> Table:
    """Return the few worst losses of one task."""
    shown = list(zip(flips.lost, flips.blamed, strict=True))[:top]
    rule = f"; right is {flips.score} >= {RIGHT}" if flips.score in GRADED else ""
    counts = ", ".join(f"{count} after {name}" for name, count in Counter(flips.blamed).items())
    return Table(
        caption=(
            f"{flips.task}: {len(flips.lost)} of {flips.total} examples turned from right to "
            f"wrong{f' ({counts})' if counts else ''}, {flips.gained} from wrong to right{rule}"
        ),
        columns=(
            "example",
            "said when learned (right)",
            "says at the end (wrong)",
            "first seen wrong\nfor good after",
            "nats lost",
        ),
        rows=tuple(
            (then.id, _said(then), _said(now), by, number_text("drift", now.nats - then.nats))
            for (then, now), by in shown
        ),
    )


def _said(row: ExampleRow) -> str:
    """Return a prediction on one line, its end left out where it is long."""
    said = " ".join(row.prediction.split())
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def _flips(
    task: str, score: str, moments: dict[int, dict[str, ExampleRow]], tasks: Sequence[str]
) -> Flips:
    learned, final = moments[min(moments)], moments[max(moments)]
    pairs = [(then, final[id]) for id, then in learned.items() if id in final]
    lost = [pair for pair in pairs if pair[0].correct >= RIGHT > pair[1].correct]
    gained = sum(then.correct < RIGHT <= now.correct for then, now in pairs)
    lost.sort(key=lambda pair: (pair[0].nats - pair[1].nats, pair[0].id))
    return Flips(
        task=task,
        lost=tuple(lost),
        blamed=tuple(tasks[_turned(then.id, moments)] for then, _ in lost),
        gained=gained,
        total=len(pairs),
        score=score,
    )


def _turned(id: str, moments: dict[int, dict[str, ExampleRow]]) -> int:
    """Return the first experience from which on an example stays wrong."""
    turned = max(moments)
    for i in sorted(moments, reverse=True):
        row = moments[i].get(id)
        if row is not None and row.correct >= RIGHT:
            break
        turned = i
    return turned
