"""From the values of a checked scenario file to a scenario."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from continual.scenario.local_source import LocalSource
from continual.scenario.orders import split_by_class
from continual.scenario.probe import Probe
from continual.scenario.schema import DataSection, ProbeSection, ScenarioSection, SplitSection
from continual.scenario.sequence import Scenario
from continual.scenario.source_schema import (
    CallableSection,
    FileSection,
    HubSection,
    LocalSection,
)
from continual.scenario.sources import CallableSource, FileSource, HubSource, Source
from continual.scenario.task import Task
from continual.scenario.values import Limit


def build(values: Mapping[str, Any], folder: Path) -> Scenario:
    """Return the scenario of checked values; relative files start from `folder`.

    Raises:
        InputError: tasks that share labels disagree about them.
    """
    section = ScenarioSection.model_validate(dict(values))
    tasks = tuple(build_task(task, folder, task.classes) for task in section.tasks)
    if section.split is not None:
        tasks += split_tasks(section.split, folder)
    defaults = section.defaults.model_dump(exclude_unset=True)
    return Scenario(
        name=section.name,
        tasks=tasks,
        setting=section.setting,
        probes=tuple(_probe(probe, folder) for probe in section.probes),
        description=section.description.strip(),
        defaults=defaults,
        orders={name: tuple(order) for name, order in section.orders.items()},
    )


def build_task(section: DataSection, folder: Path, classes: list[str] | None) -> Task:
    """Return the task of a section."""
    labels, verbalizers = labels_and_texts(section.labels)
    return Task(
        name=section.name,
        kind=section.kind,
        train=build_source(section.train, folder),
        test=build_source(section.test, folder),
        validation=build_source(section.validation, folder) if section.validation else None,
        columns=section.columns,
        labels=labels,
        label_names=section.label_names,
        verbalizers=verbalizers,
        prompt=section.prompt,
        score=section.score or "",
        limit=Limit(**section.limit.model_dump()),
        validation_fraction=section.validation_fraction,
        classes=None if classes is None else tuple(classes),
    )


def split_tasks(section: SplitSection, folder: Path) -> tuple[Task, ...]:
    """Return the tasks that one labelled dataset is split into."""
    whole = build_task(section, folder, None)
    return split_by_class(whole, section.tasks, seed=section.seed, order=section.class_order)


def labels_and_texts(
    labels: Sequence[object] | Mapping[Any, str],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return class names, and what is said for each where a mapping gives it.

    >>> labels_and_texts({"pos": "good", 0: "bad"})
    (('pos', '0'), ('good', 'bad'))
    """
    if isinstance(labels, Mapping):
        return tuple(str(name) for name in labels), tuple(labels.values())
    return tuple(str(name) for name in labels), ()


def build_source(
    section: HubSection | FileSection | CallableSection | LocalSection, folder: Path
) -> Source:
    """Return the source of a section; a relative file starts from `folder`."""
    if isinstance(section, HubSection):
        return HubSource(
            hub=section.hub,
            split=section.split,
            config=section.config,
            revision=section.revision,
            share=_share(section.share),
        )
    if isinstance(section, FileSection):
        return FileSource(
            file=str(folder / section.file),
            sample_by=section.sample_by,
            share=_share(section.share),
        )
    if isinstance(section, LocalSection):
        return LocalSource(local=section.local, origin=section.origin)
    return CallableSource(callable=section.callable, params=section.params, folder=str(folder))


def _share(given: list[float] | None) -> tuple[float, float] | None:
    return None if given is None else (given[0], given[1])


def _probe(section: ProbeSection, folder: Path) -> Probe:
    return Probe(
        name=section.name,
        source=build_source(section.source, folder),
        column=section.column,
        limit=section.limit,
    )
