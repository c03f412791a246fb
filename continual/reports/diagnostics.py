"""What happened to the weights: collisions between tasks, and how far every layer moved."""

import numpy as np

from continual.reports.groups import Group, MethodRuns
from continual.reports.tables import MISSING, Table

INTRUDERS = "intruder_dimensions"
CAPTIONS = {
    "change_norm": "‖ΔW‖ / ‖W‖ of every adapted layer at the end, mean over seeds",
    INTRUDERS: "Intruder dimensions among the ten leading ones at the end, mean over seeds",
}
COLLISIONS = {
    "soft_collision": "soft collision",
    "collision_rate": "collision rate\nat 1 % of the largest",
    "frobenius_cosine": "cosine",
    "overlap": "overlap of inputs\n‖A_i A_jᵗ‖²",
    "awom": "AWOM\n‖ΔW_iᵗ ΔW_j‖²",
}


def diagnostics_tables(group: Group) -> tuple[Table, ...]:
    """Return the tables that some run has numbers for."""
    found = (_collisions(group), _layers(group, "change_norm"), _layers(group, INTRUDERS))
    return tuple(table for table in found if table is not None)


def _collisions(group: Group) -> Table | None:
    """Return means over pairs of tasks, then over seeds."""
    rows = []
    for runs in group.methods:
        cells = []
        for measure in COLLISIONS:
            pairs = np.array([record.collisions(measure) for record in runs.records])
            known = pairs[np.isfinite(pairs)]
            cells.append(f"{known.mean():.3g}" if known.size else MISSING)
        if set(cells) != {MISSING}:
            rows.append((runs.label, *cells))
    if not rows:
        return None
    return Table(
        caption="Collisions between the changes of two tasks, mean over pairs and seeds",
        columns=("method", *COLLISIONS.values()),
        rows=tuple(rows),
    )


def _layers(group: Group, metric: str) -> Table | None:
    """Return one row per layer and one column per method that has any."""
    found = {runs.label: _by_layer(runs, metric) for runs in group.methods}
    found = {label: layers for label, layers in found.items() if layers}
    names = dict.fromkeys(name for layers in found.values() for name in layers)
    if not names:
        return None
    rows = tuple(
        (name, *(f"{layers[name]:.3g}" if name in layers else MISSING for layers in found.values()))
        for name in names
    )
    return Table(caption=CAPTIONS[metric], columns=("layer", *found), rows=rows)


def _by_layer(runs: MethodRuns, metric: str) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for record in runs.records:
        last = len(record.tasks) - 1
        for row in record.score_rows:
            if (row.experience, row.metric) == (last, metric):
                values.setdefault(row.task, []).append(row.value)
    return {name: float(np.mean(each)) for name, each in values.items()}
