"""The examples that a run had right after learning their task and has wrong at its end."""

from dataclasses import dataclass

from continual.records import ExampleRow, RunRecord
from continual.reports.tables import Table

RIGHT = 0.5  # an example counts as right from this share of its tokens on
LONGEST = 160  # letters of a prediction that are shown


@dataclass(frozen=True, kw_only=True)
class Flips:
    """What became of one task's examples.

    Attributes:
        task: its name.
        lost: pairs of rows, right when learned and wrong at the end, worst first.
        gained: how many went the other way.
        total: how many examples both rows know.
    """

    task: str
    lost: tuple[tuple[ExampleRow, ExampleRow], ...]
    gained: int
    total: int


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
    for j, task in enumerate(record.tasks[:-1]):
        learned, final = by_moment.get((task, j)), by_moment.get((task, last))
        if learned and final:
            found.append(_flips(task, learned, final))
    return tuple(found)


def flips_table(flips: Flips, top: int = 5) -> Table:
    """Return the few worst losses of one task."""
    shown = flips.lost[:top]
    return Table(
        caption=(
            f"{flips.task}: {len(flips.lost)} of {flips.total} examples turned from right to "
            f"wrong, {flips.gained} from wrong to right"
        ),
        columns=("example", "said when learned (right)", "says at the end (wrong)", "nats lost"),
        rows=tuple(
            (then.id, _said(then), _said(now), f"{now.nats - then.nats:+.2f}".replace("-", "−"))
            for then, now in shown
        ),
    )


def _said(row: ExampleRow) -> str:
    """Return a prediction on one line, its end left out where it is long."""
    said = " ".join(row.prediction.split())
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 1]}…"


def _flips(task: str, learned: dict[str, ExampleRow], final: dict[str, ExampleRow]) -> Flips:
    pairs = [(then, final[id]) for id, then in learned.items() if id in final]
    lost = [pair for pair in pairs if pair[0].correct >= RIGHT > pair[1].correct]
    gained = sum(then.correct < RIGHT <= now.correct for then, now in pairs)
    lost.sort(key=lambda pair: (pair[0].nats - pair[1].nats, pair[0].id))
    return Flips(task=task, lost=tuple(lost), gained=gained, total=len(pairs))
