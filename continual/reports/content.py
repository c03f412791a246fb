"""What a report says, before it takes the form of a page or of Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from continual.records import RunRecord
from continual.reports.against import against_tables
from continual.reports.comparison import comparison_tables, estimates, shown_ids
from continual.reports.diagnostics import diagnostics_tables
from continual.reports.facts import facts
from continual.reports.flips import flips_table, negative_flips
from continual.reports.groups import Group, group_runs
from continual.reports.harm import harm_tables
from continual.reports.orders import order_tables
from continual.reports.passages import Passage, worst_passages
from continual.reports.pictures import Picture, curves, matrices
from continual.reports.tables import Table, definitions_table
from continual.reports.unmeasured import unmeasured
from continual.reports.verdict import verdicts, warnings


@dataclass(frozen=True, kw_only=True)
class Section:
    """Everything about runs that can be compared with each other."""

    title: str
    lead: str
    methods: tuple[str, ...]
    runs: tuple[RunRecord, ...]
    verdicts: tuple[str, ...]
    warnings: tuple[str, ...]
    comparison: tuple[Table, ...]
    matrices: tuple[Picture, ...]
    curves: tuple[Picture, ...]
    harm: tuple[Table, ...]
    lost: tuple[tuple[str, tuple[Table, ...]], ...]
    passages: tuple[tuple[str, tuple[Passage, ...]], ...]
    diagnostics: tuple[Table, ...]
    facts: tuple[Table, ...]
    unmeasured: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report."""

    title: str
    sections: tuple[Section, ...]
    orders: tuple[Table, ...]
    definitions: Table


def assemble(records: Sequence[RunRecord], baseline: str | None = None) -> Report:
    """Gather runs into sections, one for each backbone on the same tasks in the same order.

    Raises:
        InputError: no run has the baseline's name.
    """
    groups = group_runs(records)
    ids: dict[str, None] = {}
    sections = []
    for number, group in enumerate(groups, 1):
        found = estimates(group)
        ids.update(dict.fromkeys(id.split(" ")[0] for id in shown_ids(group, found)))
        sections.append(
            Section(
                title=f"{group.scenario} on {group.backbone}",
                lead=_lead(group),
                methods=tuple(runs.label for runs in group.methods),
                runs=group.records,
                verdicts=verdicts(group, found),
                warnings=warnings(group, baseline),
                comparison=(*comparison_tables(group, found), *against_tables(group, baseline)),
                harm=harm_tables(group),
                matrices=matrices(group, number),
                curves=curves(group, number, found),
                lost=tuple(_lost(group)),
                passages=tuple(_passages(group)),
                diagnostics=diagnostics_tables(group),
                facts=facts(group),
                unmeasured=unmeasured(group),
            )
        )
    names = ", ".join(dict.fromkeys(group.scenario for group in groups))
    return Report(
        title=f"What was learned and forgotten: {names}",
        sections=tuple(sections),
        orders=order_tables(groups, baseline),
        definitions=definitions_table(tuple(ids)),
    )


def _lead(group: Group) -> str:
    setting = f", {group.setting}" if group.setting else ""
    return (
        f"{len(group.records)} {'run' if len(group.records) == 1 else 'runs'} of "
        f"{len(group.methods)} {'method' if len(group.methods) == 1 else 'methods'}; "
        f"{len(group.tasks)} {'task' if len(group.tasks) == 1 else 'tasks'}{setting}, learned in "
        f"this order: {', '.join(group.tasks)}."
    )


def _lost(group: Group) -> list[tuple[str, tuple[Table, ...]]]:
    """Return, for the first seed of each method, the worst lost examples of each task."""
    found = []
    for runs in group.methods:
        record = runs.records[0]
        tables = tuple(flips_table(flips) for flips in negative_flips(record))
        if tables:
            found.append((f"{runs.label}, seed {record.seed}", tables))
    return found


def _passages(group: Group) -> list[tuple[str, tuple[Passage, ...]]]:
    """Return, for the first seed of each method, where the probes' loss rose most."""
    found = []
    for runs in group.methods:
        passages = worst_passages(runs.records[0])
        if passages:
            found.append((f"{runs.label}, seed {runs.records[0].seed}", passages))
    return found
