"""Which runs may stand in one table, and which are seeds of the same thing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from continual.records import RunRecord, flatten
from continual.reports.tables import CONTROLS

IDENTITY = ("scenario", "backbone", "tasks", "probes", "data", "seed")  # of run.yaml: not a setting
OBSERVING = ("tracking",)  # settings that only read: runs that differ in them are repetitions


@dataclass(frozen=True, kw_only=True)
class MethodRuns:
    """Runs that differ in their seed only.

    Attributes:
        label: the method's name, with the settings that tell it from its other variants.
        method: the method's name.
        records: one per seed.
    """

    label: str
    method: str
    records: tuple[RunRecord, ...]

    @property
    def control(self) -> bool:
        """Whether the method is there to keep the others honest."""
        return self.method in CONTROLS


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that can be compared: one backbone on the same tasks in the same order."""

    scenario: str
    backbone: str
    setting: str
    tasks: tuple[str, ...]
    methods: tuple[MethodRuns, ...]

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """Every run, method by method."""
        return tuple(record for runs in self.methods for record in runs.records)


def group_runs(records: Sequence[RunRecord]) -> tuple[Group, ...]:
    """Gather comparable runs, in the order given; methods under study come before controls."""
    together: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        key = (record.scenario, record.backbone, record.setting, record.tasks, record.score_ids)
        together.setdefault(key, []).append(record)
    return tuple(
        Group(
            scenario=key[0],
            backbone=key[1],
            setting=key[2],
            tasks=key[3],
            methods=method_runs(runs),
        )
        for key, runs in together.items()
    )


def settings(record: RunRecord) -> dict[str, str]:
    """Return the settings of a run, nested keys joined by dots, without what names the run.

    Seeds are left out wherever they stand: runs that differ in them are repetitions.
    """
    found: dict[str, str] = {}
    for key, value in record.config.items():
        if key not in IDENTITY:
            found.update(flatten(value, key))
    names = ("seed", "source")  # of repetitions, and of the runs that they were forked from
    return {key: value for key, value in found.items() if key.rsplit(".", 1)[-1] not in names}


def method_runs(records: Sequence[RunRecord]) -> tuple[MethodRuns, ...]:
    """Gather runs that differ in their seed only, labelled apart; controls come last."""
    variants: dict[tuple[str, tuple[tuple[str, str], ...]], list[RunRecord]] = {}
    for record in records:
        key = (record.method, tuple(sorted(_options(record).items())))
        variants.setdefault(key, []).append(record)
    labels = _labels([(method, dict(options)) for method, options in variants])
    found = [
        MethodRuns(label=label, method=key[0], records=tuple(sorted(runs, key=lambda r: r.seed)))
        for label, (key, runs) in zip(labels, variants.items(), strict=True)
    ]
    return tuple(sorted(found, key=_controls_last))


def _options(record: RunRecord) -> dict[str, str]:
    """Return the settings that make another variant of a method."""
    told_otherwise = ("method", "method.name", *OBSERVING)
    return {key: value for key, value in settings(record).items() if key not in told_otherwise}


def _labels(variants: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    """Name each variant by its method and the settings that tell it from that method's others."""
    labels = []
    for method, options in variants:
        others = [other for name, other in variants if name == method]
        telling = [
            f"{key.rsplit('.', 1)[-1]}={options.get(key, 'unset')}"
            for key in sorted({key for other in others for key in other})
            if len({other.get(key) for other in others}) > 1
        ]
        labels.append(f"{method} ({', '.join(telling)})" if telling else method)
    return labels


def _controls_last(runs: MethodRuns) -> int:
    return CONTROLS.index(runs.method) if runs.control else -1
