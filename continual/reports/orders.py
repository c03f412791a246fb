"""The same tasks in several orders: means over orders, since an order is chance as a seed is.

The unit is the order. Runs of one order that differ in their seed are averaged first, and the
interval is over orders; with few orders it is as weak as one over few seeds.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from continual.metrics import METRICS, Estimate, estimate, holm, paired, words
from continual.reports.against import COMPARED, baseline_of
from continual.reports.comparison import SCORES, run_values
from continual.reports.groups import Group, MethodRuns, method_runs
from continual.reports.tables import MISSING, Table, number_text

LEAST = 2


def order_tables(groups: Sequence[Group], baseline: str | None = None) -> tuple[Table, ...]:
    """Return, for every set of tasks that was learned in several orders, two kinds of tables.

    The first has the mean of every score over orders, and its lowest and highest order; the others
    compare every method with the baseline, order by order.
    """
    families: dict[tuple[object, ...], list[Group]] = {}
    for group in groups:
        scored = frozenset(zip(group.tasks, group.records[0].score_ids, strict=True))
        key = (group.scenario, group.backbone, group.setting, scored)
        families.setdefault(key, []).append(group)
    tables: list[Table] = []
    for family in families.values():
        if len(family) >= LEAST:
            whole = _together(family)
            tables.append(_means(whole, len(family)))
            tables += [t for id in COMPARED if (t := _against(whole, id, baseline)) is not None]
    return tuple(tables)


def _together(family: Sequence[Group]) -> Group:
    """Return the runs of all orders as one group, so that labels tell settings apart in all."""
    records = [record for group in family for record in group.records]
    return replace(family[0], methods=method_runs(records))


def _means(whole: Group, orders: int) -> Table:
    rows = []
    for runs in whole.methods:
        count = len({record.tasks for record in runs.records})
        cells = (_cell(id, list(_by_order(runs, id).values())) for id in SCORES)
        rows.append((runs.label, str(count), *cells))
    return Table(
        caption=(
            f"{whole.scenario} on {whole.backbone} in {orders} orders of its tasks: "
            "mean over orders, with the 95 % bootstrap interval where there are three or more, "
            "and the lowest and highest order"
        ),
        columns=("method", "orders", *(f"{METRICS[id].title}\n{id}" for id in SCORES)),
        rows=tuple(rows),
        marked=tuple(k for k, runs in enumerate(whole.methods) if runs.control),
    )


def _against(whole: Group, id: str, name: str | None) -> Table | None:
    base = baseline_of(whole, name)
    if base is None:
        return None
    theirs = _by_order(base, id)
    found = {}
    for runs in whole.methods:
        mine = _by_order(runs, id)
        shared = [order for order in mine if order in theirs]
        if runs is not base and shared:
            pair = paired([mine[o] for o in shared], [theirs[o] for o in shared])
            found[runs.label] = (runs, pair)
    if not found:
        return None
    adjusted = holm([pair.p for _, pair in found.values()])
    rows = []
    for (label, (_, pair)), p in zip(found.items(), adjusted, strict=True):
        said = words(pair, p, higher_is_better=METRICS[id].higher_is_better, unit="order")
        difference = _interval("bwt", pair.difference)
        rows.append((label, str(pair.difference.n), difference, f"{pair.p:.3f}\n{p:.3f}", said))
    return Table(
        caption=f"{id} against {base.label}, order by order",
        columns=(
            "method",
            "orders",
            "difference\n95 % over orders",
            "p, Wilcoxon\nHolm over the rows",
            "in words",
        ),
        rows=tuple(rows),
        marked=tuple(k for k, (runs, _) in enumerate(found.values()) if runs.control),
    )


def _by_order(runs: MethodRuns, id: str) -> dict[tuple[str, ...], float]:
    """Return the mean over seeds of one score in every order that has it."""
    values: dict[tuple[str, ...], list[float]] = {}
    for record in runs.records:
        value = run_values(record).get(id, math.nan)
        if math.isfinite(value):
            values.setdefault(record.tasks, []).append(value)
    return {order: math.fsum(own) / len(own) for order, own in values.items()}


def _cell(id: str, values: Sequence[float]) -> str:
    if not values:
        return MISSING
    text = _interval(id, estimate(values))
    return f"{text}\n{number_text(id, min(values))} to {number_text(id, max(values))}"


def _interval(id: str, found: Estimate) -> str:
    text = number_text(id, found.mean)
    if found.interval is None:
        return text
    low, high = found.interval
    return f"{text}\n[{number_text(id, low)}, {number_text(id, high)}]"
