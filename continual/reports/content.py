"""What a report says, before it takes the form of a page or of Markdown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from continual.records import RunRecord
from continual.reports.against import against_tables
from continual.reports.comparison import comparison_tables, estimates, shown_ids
from continual.reports.flips import flips_table, negative_flips
from continual.reports.groups import Group, flatten, group_runs, settings
from continual.reports.harm import harm_tables
from continual.reports.passages import Passage, worst_passages
from continual.reports.tables import MISSING, Table, definitions_table, matrix_table, score_text
from continual.reports.verdict import FINGERPRINTS, fingerprints, verdicts, warnings

if TYPE_CHECKING:
    import matplotlib.figure


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure that is drawn when it is asked for.

    Attributes:
        stem: its file name without the ending.
        words: what it shows, for those who cannot see it.
        draw: returns the figure.
        table: the same numbers as text, where they fit.
        method: the label of the method it shows, "" where it shows several.
    """

    stem: str
    words: str
    draw: Callable[[], "matplotlib.figure.Figure"]
    table: Table | None = None
    method: str = ""


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
    facts: tuple[Table, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A whole report."""

    title: str
    sections: tuple[Section, ...]
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
                warnings=warnings(group),
                comparison=(*comparison_tables(group, found), *against_tables(group, baseline)),
                harm=harm_tables(group),
                matrices=tuple(_matrices(group, number)),
                curves=tuple(_curves(group, number)),
                lost=tuple(_lost(group)),
                passages=tuple(_passages(group)),
                facts=(_tasks(group), _settings(group), _environment(group), _fingerprints(group)),
            )
        )
    names = ", ".join(dict.fromkeys(group.scenario for group in groups))
    return Report(
        title=f"What was learned and forgotten: {names}",
        sections=tuple(sections),
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


def _matrices(group: Group, section: int) -> list[Picture]:
    from continual.reports.figures import heat_map

    pictures = []
    for runs in group.methods:
        for record in runs.records:
            title = f"{runs.label}, seed {record.seed}"
            pictures.append(
                Picture(
                    stem=f"{section}-matrix-{len(pictures) + 1:02d}",
                    words=f"Retained accuracy matrix of {title}",
                    draw=lambda r=record, t=title: heat_map(r.matrix(), r.baseline(), r.tasks, t),
                    table=matrix_table(record),
                    method=runs.label,
                )
            )
    return pictures


def _curves(group: Group, section: int) -> list[Picture]:
    from continual.reports.figures import drift_curves, task_curves

    probes = dict.fromkeys(name for record in group.records for name in record.probe_names)
    pictures = [
        Picture(
            stem=f"{section}-drift-{number}",
            words=f"Perplexity drift on {probe}: each line is a run, above 0 is worse than before",
            draw=lambda probe=probe: drift_curves(group, probe),
        )
        for number, probe in enumerate(probes, 1)
    ]
    words = "Score of each task over the run: each line is a method's mean over seeds"
    return [
        *pictures,
        Picture(stem=f"{section}-tasks", words=words, draw=lambda: task_curves(group)),
    ]


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


def _tasks(group: Group) -> Table:
    first = group.records[0]
    kinds = [str(task.get("kind", MISSING)) for task in first.config["tasks"]]
    b, majority = map(score_text, first.baseline()), map(score_text, first.majority())
    return Table(
        caption="Tasks",
        columns=("task", "kind", "score", "before training", "majority class"),
        rows=tuple(zip(group.tasks, kinds, first.score_ids, b, majority, strict=True)),
    )


def _settings(group: Group) -> Table:
    by_label = [(runs.label, settings(runs.records[0])) for runs in group.methods]
    keys = dict.fromkeys(key for _, found in by_label for key in found)
    rows = [(key, _same_or_each([(label, f.get(key)) for label, f in by_label])) for key in keys]
    return Table(caption="Settings", columns=("setting", "value"), rows=tuple(rows))


def _environment(group: Group) -> Table:
    runs = [
        (
            f"{record.method} seed {record.seed}",
            flatten({k: v for k, v in record.environment.items() if k not in FINGERPRINTS}, ""),
        )
        for record in group.records
    ]
    keys = dict.fromkeys(key for _, found in runs for key in found)
    rows = [(key, _same_or_each([(name, found.get(key)) for name, found in runs])) for key in keys]
    return Table(caption="Environment", columns=("what", "value"), rows=tuple(rows))


def _fingerprints(group: Group) -> Table:
    rows = [(name, ", ".join(sorted(values))) for name, values in fingerprints(group).items()]
    return Table(
        caption="Fingerprints", columns=("data or weights", "fingerprint"), rows=tuple(rows)
    )


def _same_or_each(values: Sequence[tuple[str, str | None]]) -> str:
    """Write a value once where all agree, else with the names of those that have it."""
    by_value: dict[str, list[str]] = {}
    for name, value in values:
        if value is not None:
            by_value.setdefault(value, []).append(name)
    if len(by_value) == 1 and all(value is not None for _, value in values):
        return next(iter(by_value))
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in by_value.items())
