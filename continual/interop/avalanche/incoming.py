"""An Avalanche benchmark as a scenario, for those who want to train with our loop.

Train experience i becomes task i, named ``NAME-1``, ``NAME-2``, ...; items keep their order, so an
index means the same item on both sides. The data is read at once and kept in memory as a value.

    test stream                       test split of task i
    as long as the train stream       test experience i
    one experience                    its items of the task's classes; all of them where the tasks
                                      share their classes (new instances)

    task labels                                            setting, unless given
    a different one for every experience                   task-incremental
    none, or always the same: the same classes everywhere  domain-incremental
                              classes that never return    class-incremental

Training data is read by its train transforms, all other data by its eval transforms. A stream named
``valid`` or ``validation`` becomes the validation splits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from continual._torchvision import ensure_torchvision
from continual.errors import InputError
from continual.interop.avalanche.items import Row
from continual.interop.avalanche.streams import (
    Data,
    Transforms,
    check_tests,
    read_stream,
    read_validation,
    setting_of,
    streams_of,
)
from continual.scenario import Kind, RowsSource, Scenario, Setting, Task
from continual.scenario.problems import name_problems, one_of, refuse
from continual.scenario.values import PROMPT, SETTINGS


def from_benchmark(
    benchmark: Any,
    *,
    name: str,
    setting: Setting | None = None,
    class_names: Sequence[str] | Mapping[int, str] | None = None,
    train_transforms: Transforms = "train",
    validation_fraction: float = 0.0,
    prompt: str = "{text}",
) -> Scenario:
    """Return an Avalanche benchmark of pictures or text as a scenario; see the module.

    Args:
        benchmark: with a train and a test stream, of class-, domain- or new-instance increments.
        name: of the scenario, and with a number of its tasks.
        setting: None says it from task labels and classes.
        class_names: the name of every class id; None names a class by its id.
        train_transforms: "eval" reads training data by its eval transforms too, which is needed
            where the train transforms draw at random.
        validation_fraction: of the training rows, where there is no validation stream; 0 trains on
            all of them, as Avalanche does.
        prompt: of text; as it is unless given.

    Raises:
        InputError: no such benchmark, streams that do not fit together, an online stream, or items
            that are neither pictures nor text with one class each.
    """
    ensure_torchvision()
    problems = name_problems("name", name)
    problems += one_of("train_transforms", train_transforms, get_args(Transforms))
    problems += one_of("setting", setting, SETTINGS) if setting else []
    refuse("from_benchmark", problems)
    streams = streams_of(benchmark)
    train = read_stream(streams["train"], "train", train_transforms)
    test = read_stream(streams["test"], "test", "eval")
    valid = read_validation(streams, len(train))
    chosen = setting or setting_of(train)
    check_tests(train, test, chosen)
    ids = {k for part in (train, test, valid) for one in part for k in one.classes}
    names = _names(sorted(ids), class_names)
    tests, valids = _sources(test, names), _sources(valid, names)
    alone = bool(names) and chosen != "domain-incremental"
    tasks = [
        Task(
            name=f"{name}-{i + 1}",
            kind=_kind(data.rows[0]),
            train=source,
            test=tests[i if len(tests) > 1 else 0],
            validation=valids[i] if valids else None,
            labels=tuple(names.values()),
            classes=tuple(names[k] for k in data.classes) if alone else None,
            validation_fraction=validation_fraction,
            prompt=prompt if _kind(data.rows[0]).startswith("text") else PROMPT,
        )
        for i, (data, source) in enumerate(zip(train, _sources(train, names), strict=True))
    ]
    return Scenario(name=name, tasks=tuple(tasks), setting=chosen)


def _names(ids: Sequence[int], given: Sequence[str] | Mapping[int, str] | None) -> dict[int, str]:
    if given is None:
        return {k: str(k) for k in ids}
    known = dict(given) if isinstance(given, Mapping) else dict(enumerate(given))
    if missing := [k for k in ids if k not in known]:
        raise InputError(f"class_names has {len(known)} names and none for the ids {missing}.")
    return {k: str(known[k]) for k in ids}


def _sources(part: Sequence[Data], names: Mapping[int, str]) -> list[RowsSource]:
    return [
        RowsSource(
            rows=[
                {**row, "label": names[row["label"]]} if "label" in row else row for row in one.rows
            ]
        )
        for one in part
    ]


def _kind(row: Row) -> Kind:
    if "image" in row:
        return "image-classification"
    if "label" in row:
        return "text-classification"
    return "text-generation" if "target" in row else "language-modeling"
