"""The experiences of an Avalanche benchmark, read; and what of them fits together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from continual.errors import InputError, unknown
from continual.interop.avalanche.items import Row, read_rows
from continual.scenario import Setting
from continual.scenario.values import SETTINGS

MOST = 1000  # experiences that are taken from a stream without a length
Transforms = Literal["train", "eval"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """The rows of one experience, their class ids in order, and the task label."""

    rows: list[Row]
    classes: tuple[int, ...]
    label: int | None


def streams_of(benchmark: Any) -> Mapping[str, Any]:
    """Return the streams of a benchmark by name; train and test are there.

    Raises:
        InputError: it is no benchmark, it is one of detection, or it lacks one of the two.
    """
    from avalanche.benchmarks.scenarios import CLScenario
    from avalanche.benchmarks.scenarios.detection_scenario import DetectionScenario

    if not isinstance(benchmark, CLScenario):
        raise InputError(
            f"from_benchmark takes an Avalanche benchmark (a CLScenario); got "
            f"{type(benchmark).__name__}."
        )
    if isinstance(benchmark, DetectionScenario):
        raise InputError("a detection benchmark has boxes to find, and no task of ours does.")
    streams = dict(benchmark.streams)
    if "train_online" in streams:  # what split_online_stream makes of a train stream
        streams.setdefault("train", streams["train_online"])
    for wanted in ("train", "test"):
        if wanted not in streams:
            raise unknown("stream", wanted, streams)
    return streams


def read_stream(stream: Any, which: str, transforms: Transforms) -> list[Data]:
    """Read the experiences of a stream; one without a length is followed to its end.

    Raises:
        InputError: it is online, too long or empty, or its items are nothing to us.
    """
    from avalanche.benchmarks.scenarios import OnlineCLExperience

    found: list[Data] = []
    for i, experience in enumerate(islice(iter(stream), MOST + 1)):
        where = f"experience {i} of the {which} stream"
        if isinstance(experience, OnlineCLExperience):
            raise InputError(
                f"the {which} stream is online: its experiences of {len(experience.dataset)} items "
                "are steps, not tasks. Give the benchmark that it was split from, and train with "
                f"train.epochs=1 and train.batch_size={len(experience.dataset)}."
            )
        if i == MOST:
            raise InputError(
                f"the {which} stream has more than {MOST} experiences; a scenario evaluates every "
                "task after every experience. Give a benchmark of fewer, larger ones."
            )
        found.append(_experience(experience.logging(), where, transforms))
    if not found:
        raise InputError(f"the {which} stream has no experiences.")
    return found


def _experience(experience: Any, where: str, transforms: Transforms) -> Data:
    try:
        dataset = experience.dataset
    except AttributeError:
        raise InputError(f"{where} has no data set; a task learns from one.") from None
    rows = read_rows(dataset.train() if transforms == "train" else dataset.eval(), where)
    classes = tuple(sorted({row["label"] for row in rows if "label" in row}))
    return Data(rows=rows, classes=classes, label=_task_label(experience, where))


def _task_label(experience: Any, where: str) -> int | None:
    try:
        labels = sorted(set(experience.task_labels))
    except AttributeError:
        return None
    if len(labels) > 1:
        raise InputError(f"{where} has the task labels {labels}; a task of ours is one task.")
    return int(labels[0])


def read_validation(streams: Mapping[str, Any], count: int) -> list[Data]:
    """Read the validation stream; nothing where there is none.

    Raises:
        InputError: it has not one experience for each of ``count`` tasks.
    """
    for which in ("valid", "validation"):
        if which in streams:
            found = read_stream(streams[which], which, "eval")
            if len(found) != count:
                raise InputError(
                    f"the {which} stream has {len(found)} experiences for {count} tasks; give one "
                    "for each, or none."
                )
            return found
    return []


def setting_of(train: Sequence[Data]) -> Setting:
    """Return the setting that task labels and classes tell.

    Raises:
        InputError: they do not.
    """
    labels = [one.label for one in train]
    if len(set(labels)) == len(train) > 1:
        return "task-incremental"
    if len({one.classes for one in train}) == 1:
        return "domain-incremental"
    if sum(len(one.classes) for one in train) == len({k for one in train for k in one.classes}):
        return "class-incremental"
    raise InputError(
        f"the setting cannot be told: the experiences have the task labels {labels} and share some "
        f"classes but not all. Give setting=, one of {list(SETTINGS)}."
    )


def check_tests(train: Sequence[Data], test: Sequence[Data], setting: str) -> None:
    """Raise ``InputError`` where a test stream says nothing about the single tasks."""
    alone = setting == "task-incremental"
    if len(test) != len(train) and (alone or len(test) != 1):
        allowed = f"{len(train)}" if alone else f"{len(train)}, or one for all"
        raise InputError(
            f"the test stream has {len(test)} experiences for {len(train)} train experiences; "
            f"allowed in a {setting} scenario: {allowed}."
        )
    if len(test) == 1 < len(train):
        return
    for i, (own, other) in enumerate(zip(train, test, strict=True)):
        if alone and own.label != other.label:
            raise InputError(
                f"experience {i} has task label {own.label} in the train and {other.label} in the "
                "test stream; a task is tested as itself."
            )
        if setting == "class-incremental" or alone:
            _check_classes(i, own, other)


def _check_classes(i: int, own: Data, other: Data) -> None:
    if more := sorted(set(other.classes) - set(own.classes)):
        raise InputError(
            f"test experience {i} has the classes {more}, which its train experience lacks; give a "
            "test stream of the same classes, or setting='domain-incremental'."
        )
