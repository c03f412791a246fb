"""How runs were made: tasks, settings, environment and fingerprints, told once where all agree."""

from collections.abc import Sequence

from continual.records import flatten
from continual.reports.groups import Group, settings
from continual.reports.tables import MISSING, Table, score_text
from continual.reports.verdict import FINGERPRINTS, fingerprints


def facts(group: Group) -> tuple[Table, ...]:
    """Return the tables about how a group's runs were made."""
    return (_tasks(group), _settings(group), _environment(group), _fingerprints(group))


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
