"""Every method against one of them: the difference, how sure it is, and the answer in words."""

from collections.abc import Sequence

import numpy as np

from continual.errors import unknown
from continual.metrics import METRICS, Paired, example_interval, holm, paired, words
from continual.records import RunRecord
from continual.reports.comparison import run_values
from continual.reports.groups import Group, MethodRuns
from continual.reports.tables import MISSING, Table, number_text

PREFERRED = ("lora", "frozen", "head-only")  # baselines, the first that is there
COMPARED = ("average_accuracy", "forgetting.chaudhry2018")


def baseline_of(group: Group, name: str | None) -> MethodRuns | None:
    """Return the runs that the others are compared with; None where there is nobody else.

    Args:
        group: comparable runs.
        name: a label or a method's name; by default the first of ``PREFERRED``, or the last.

    Raises:
        InputError: no run has that name.
    """
    if len(group.methods) < 2:
        return None
    if name is not None:
        for runs in group.methods:
            if name in (runs.label, runs.method):
                return runs
        raise unknown("baseline", name, [runs.label for runs in group.methods])
    for preferred in PREFERRED:
        for runs in group.methods:
            if runs.method == preferred:
                return runs
    return group.methods[-1]


def against_tables(group: Group, name: str | None = None) -> tuple[Table, ...]:
    """Return one table per compared score; methods without a seed in common are left out."""
    base = baseline_of(group, name)
    if base is None:
        return ()
    return tuple(table for id in COMPARED if (table := _table(group, base, id)) is not None)


def _table(group: Group, base: MethodRuns, id: str) -> Table | None:
    found = {}
    for runs in group.methods:
        if runs is not base and (pair := _paired(runs, base, id)) is not None:
            found[runs.label] = (runs, pair)
    if not found:
        return None
    adjusted = holm([pair.p for _, pair in found.values()])
    rows = tuple(
        _row(runs, base, pair, p, id)
        for (runs, pair), p in zip(found.values(), adjusted, strict=True)
    )
    columns = ["method", "seeds", "difference\n95 % over seeds"]
    columns += ["95 % over examples"] * (id == "average_accuracy")
    columns += ["effect\nd_z", "p, Wilcoxon\nHolm over the rows", "in words"]
    return Table(
        caption=f"{id} against {base.label}, seed by seed",
        columns=tuple(columns),
        rows=rows,
        marked=tuple(k for k, (runs, _) in enumerate(found.values()) if runs.control),
    )


def _row(runs: MethodRuns, base: MethodRuns, pair: Paired, p: float, id: str) -> tuple[str, ...]:
    low, high = pair.difference.low, pair.difference.high
    seeds = "" if low is None or high is None else f"\n[{_signed(low)}, {_signed(high)}]"
    cells = [runs.label, str(pair.difference.n), _signed(pair.difference.mean) + seeds]
    if id == "average_accuracy":
        cells.append(_examples(runs, base))
    effect = MISSING if pair.effect is None else number_text("bwt", pair.effect)
    said = words(pair, p, higher_is_better=METRICS[id].higher_is_better)
    return (*cells, effect, f"{pair.p:.3f}\n{p:.3f}", said)


def _paired(runs: MethodRuns, base: MethodRuns, id: str) -> Paired | None:
    values = [{r.seed: run_values(r).get(id) for r in side.records} for side in (runs, base)]
    seeds = [s for s in values[0] if values[0][s] is not None and values[1].get(s) is not None]
    if not seeds:
        return None
    mine, theirs = ([float(side[s] or 0.0) for s in seeds] for side in values)
    return paired(mine, theirs)


def _examples(runs: MethodRuns, base: MethodRuns) -> str:
    """Return the interval over examples of the first seed that both have."""
    theirs = {record.seed: record for record in base.records}
    for record in runs.records:
        other = theirs.get(record.seed)
        if other is None:
            continue
        sides = _answers((record, other))
        if sides:
            low, high = example_interval(*sides)
            return f"[{_signed(low)}, {_signed(high)}]\nseed {record.seed}"
    return MISSING


def _answers(records: Sequence[RunRecord]) -> list[dict[str, np.ndarray]]:
    """Return how right each run's last answers are, by task, in one order of examples."""
    sides = []
    for record in records:
        last = len(record.tasks) - 1
        by_task: dict[str, dict[str, float]] = {}
        for row in record.examples():
            if row.experience == last:
                by_task.setdefault(row.task, {})[row.id] = row.correct
        sides.append(by_task)
    if not sides[0] or {t: sorted(r) for t, r in sides[0].items()} != {
        t: sorted(r) for t, r in sides[1].items()
    }:
        return []
    return [
        {task: np.array([rows[id] for id in sorted(rows)]) for task, rows in side.items()}
        for side in sides
    ]


def _signed(value: float) -> str:
    return number_text("bwt", value)
