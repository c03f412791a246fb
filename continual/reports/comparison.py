"""Methods side by side: means over seeds with intervals, controls marked, baselines below."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from continual.metrics import METRICS, Estimate, estimate, scores
from continual.records import RunRecord
from continual.reports.costs import COSTS, costs
from continual.reports.groups import Group, MethodRuns
from continual.reports.tables import MISSING, Table, number_text, probe_scores, score_text

# Forgetting stands next to learning accuracy: a method that learns nothing forgets nothing.
SCORES = (
    "average_accuracy",
    "learning_accuracy",
    "forgetting.chaudhry2018",
    "bwt.gem2017",
    "fwt.gem2017",
)
Estimates = dict[str, dict[str, Estimate]]  # by method label, then by id


def run_values(record: RunRecord, joint: np.ndarray | None = None) -> dict[str, float]:
    """Return everything a comparison shows of one run, by id; a probe's ids end in its name.

    Args:
        record: the run.
        joint: the score on each task of joint training, where there is such a run.
    """
    found = scores(record.matrix(), record.baseline(), joint)
    values = {id: value for id, value in found.items() if value is not None}
    for probe, nats in record.probes().items():
        values |= {f"{id} {probe}": value for id, value in probe_scores(record, probe, nats)}
    gaps = record.gaps()
    if np.isfinite(gaps).any():
        values["stability_gap"] = float(np.nanmean(gaps))
    values |= costs(record)
    return values


def estimates(group: Group) -> Estimates:
    """Return the mean over seeds of every value, by method label and by id."""
    joint = _joint(group)
    return {runs.label: _estimates(runs, joint) for runs in group.methods}


def _joint(group: Group) -> dict[int, np.ndarray]:
    """Return the scores of joint training by seed, where there is one such variant.

    In the class-incremental setting its scores are among all classes and those just after learning
    among fewer, so they do not compare.
    """
    found = [runs for runs in group.methods if runs.method == "joint"]
    if len(found) != 1 or group.setting == "class-incremental":
        return {}
    return {record.seed: record.matrix()[-1] for record in found[0].records}


def comparison_tables(group: Group, found: Estimates) -> tuple[Table, ...]:
    """Return the scores of each method, and its drift and cost where some run measured them.

    Below the scores stands what no training and what no model at all would score.
    """
    scored = [id for id in shown_ids(group, found) if id in METRICS and "R" in METRICS[id].needs]
    others = [id for id in shown_ids(group, found) if id not in scored]
    rows = _rows(group, found, scored)
    baselines = (
        ("before training", _baseline(group.records, RunRecord.baseline)),
        ("majority class", _baseline(group.records, RunRecord.majority)),
    )
    for title, value in baselines:
        rows.append((title, MISSING, score_text(value), *(MISSING for _ in scored[1:])))
    about = "mean over seeds, with the 95 % bootstrap interval where there are three or more"
    tables = [_table(f"Scores: {about}", group, scored, rows)]
    if others:
        tables.append(
            _table(f"Drift and cost: {about}", group, others, _rows(group, found, others))
        )
    return tuple(tables)


def shown_ids(group: Group, found: Estimates) -> tuple[str, ...]:
    """Return the ids of a comparison's columns: the usual ones, and those that some run has."""
    known = {id for by_id in found.values() for id in by_id}
    probes = list(dict.fromkeys(name for record in group.records for name in record.probe_names))
    optional = ["intransigence", "stability_gap"]
    for probe in probes:
        optional += [
            f"{id} {probe}" for id in METRICS if METRICS[id].needs[0] in ("nats", "words", "bits")
        ]
    return (*SCORES, *(id for id in [*optional, *COSTS] if id in known))


def _rows(group: Group, found: Estimates, ids: Sequence[str]) -> list[tuple[str, ...]]:
    return [
        (
            f"{runs.label} (control)" if runs.control else runs.label,
            str(len(runs.records)),
            *(_cell(id, found[runs.label].get(id), len(runs.records)) for id in ids),
        )
        for runs in group.methods
    ]


def _table(
    caption: str, group: Group, ids: Sequence[str], rows: Sequence[tuple[str, ...]]
) -> Table:
    controls = [i for i, runs in enumerate(group.methods) if runs.control]
    return Table(
        caption=caption,
        columns=("method", "seeds", *(_header(id) for id in ids)),
        rows=tuple(rows),
        marked=(*controls, *range(len(group.methods), len(rows))),
    )


def _estimates(runs: MethodRuns, joint: dict[int, np.ndarray]) -> dict[str, Estimate]:
    found = [
        run_values(record, None if record.method == "joint" else joint.get(record.seed))
        for record in runs.records
    ]
    ids = dict.fromkeys(id for values in found for id in values)
    return {
        id: estimate(finite)
        for id in ids
        if (finite := [v[id] for v in found if id in v and math.isfinite(v[id])])
    }


def _cell(id: str, found: Estimate | None, seeds: int) -> str:
    """Write a mean, its interval on a second line, and n where some runs lack the value."""
    if found is None:
        return MISSING
    kind = id.split(" ", 1)[0]
    lines = [number_text(kind, found.mean)]
    if found.interval is not None and kind not in COSTS:
        low, high = found.interval
        lines.append(f"[{number_text(kind, low)}, {number_text(kind, high)}]")
    if found.n != seeds:
        lines.append(f"n = {found.n}")
    return "\n".join(lines)


def _header(id: str) -> str:
    if id in COSTS:
        return COSTS[id]
    kind, _, probe = id.partition(" ")
    title = METRICS[kind].title
    return f"{title}\n{kind}\n{probe}" if probe else f"{title}\n{kind}"


def _baseline(records: Sequence[RunRecord], read: Callable[[RunRecord], np.ndarray]) -> float:
    """Return a baseline's mean over tasks, then over the runs that know it for every task."""
    means = [float(np.mean(read(record))) for record in records]
    known = [mean for mean in means if not math.isnan(mean)]
    return math.fsum(known) / len(known) if known else math.nan
