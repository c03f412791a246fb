"""The same tasks in several orders: means over orders, since an order is chance as a seed is.

The unit is the order. Runs of one order that differ in their seed are averaged first, and the
interval is over orders; with few orders it is as weak as one over few seeds.
"""

import math
from collections.abc import Sequence

from continual.metrics import METRICS, Estimate, estimate, holm, paired, words
from continual.reports.against import COMPARED, baseline_of
from continual.reports.comparison import SCORES, run_values
from continual.reports.groups import Group, MethodRuns
from continual.reports.tables import MISSING, Table, number_text

LEAST = 2


def order_tables(groups: Sequence[Group], baseline: str | None = None) -> tuple[Table, ...]:
    """Return, for every set of tasks that was learned in several orders, two kinds of tables.

    The first has the mean of every score over orders, and its lowest and highest order; the others
    compare every method with the baseline, order by order.
    """
    families: dict[tuple[object, ...], list[Group]] = {}
    for group in groups:
        key = (group.scenario, group.backbone, group.setting, frozenset(group.tasks))
        families.setdefault(key, []).append(group)
    tables: list[Table] = []
    for family in families.values():
        if len(family) >= LEAST:
            tables.append(_means(family))
            tables += [t for id in COMPARED if (t := _against(family, id, baseline)) is not None]
    return tuple(tables)


def _means(family: Sequence[Group]) -> Table:
    methods = _methods(family)
    rows = tuple(
        (label, str(len(runs)), *(_cell(id, list(_by_order(runs, id).values())) for id in SCORES))
        for label, runs in methods.items()
    )
    return Table(
        caption=(
            f"{family[0].scenario} on {family[0].backbone} in {len(family)} orders of its tasks: "
            "mean over orders, with the 95 % bootstrap interval where there are three or more, "
            "and the lowest and highest order"
        ),
        columns=("method", "orders", *(f"{METRICS[id].title}\n{id}" for id in SCORES)),
        rows=rows,
        marked=_marked(methods),
    )


def _against(family: Sequence[Group], id: str, name: str | None) -> Table | None:
    base = baseline_of(family[0], name)
    if base is None:
        return None
    methods = _methods(family)
    theirs = _by_order(methods[base.label], id)
    found = {}
    for label, runs in methods.items():
        mine = _by_order(runs, id)
        shared = [order for order in mine if order in theirs]
        if label != base.label and shared:
            found[label] = paired([mine[o] for o in shared], [theirs[o] for o in shared])
    if not found:
        return None
    adjusted = holm([pair.p for pair in found.values()])
    rows = []
    for (label, pair), p in zip(found.items(), adjusted, strict=True):
        said = words(pair, p, higher_is_better=METRICS[id].higher_is_better, unit="order")
        difference = _interval(id, pair.difference, signed=True)
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
        marked=_marked({label: methods[label] for label in found}),
    )


def _methods(family: Sequence[Group]) -> dict[str, dict[tuple[str, ...], MethodRuns]]:
    """Return the runs of every method by the order of tasks that they learned."""
    found: dict[str, dict[tuple[str, ...], MethodRuns]] = {}
    for group in family:
        for runs in group.methods:
            found.setdefault(runs.label, {})[group.tasks] = runs
    return found


def _by_order(runs: dict[tuple[str, ...], MethodRuns], id: str) -> dict[tuple[str, ...], float]:
    """Return the mean over seeds of one score in every order that has it."""
    means = {}
    for order, own in runs.items():
        values = [run_values(record).get(id, math.nan) for record in own.records]
        known = [value for value in values if math.isfinite(value)]
        if known:
            means[order] = math.fsum(known) / len(known)
    return means


def _cell(id: str, values: Sequence[float]) -> str:
    if not values:
        return MISSING
    text = _interval(id, estimate(values))
    return f"{text}\n{number_text(id, min(values))} to {number_text(id, max(values))}"


def _interval(id: str, found: Estimate, signed: bool = False) -> str:
    kind = "bwt" if signed else id
    text = number_text(kind, found.mean)
    if found.interval is None:
        return text
    low, high = found.interval
    return f"{text}\n[{number_text(kind, low)}, {number_text(kind, high)}]"


def _marked(methods: dict[str, dict[tuple[str, ...], MethodRuns]]) -> tuple[int, ...]:
    return tuple(
        k for k, runs in enumerate(methods.values()) if any(own.control for own in runs.values())
    )
