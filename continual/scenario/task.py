"""A task: what is to be learned, from which data, and how it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from continual.scenario.checks import prompt_fields, task_problems
from continual.scenario.frozen import FrozenMapping, digest, freeze
from continual.scenario.problems import refuse
from continual.scenario.sources import Source
from continual.scenario.split import Split
from continual.scenario.values import CLASSIFICATION, PROMPT, SCORES, Example, Kind, Limit


@dataclass(frozen=True, kw_only=True)
class TaskData:
    """The three splits of a task.

    `fingerprint` changes exactly when an example, a label or its order does. `versions` names what
    decided the data where that is known: packages, hub revisions. `warnings` are for the reader.
    """

    train: Split
    validation: Split
    test: Split
    fingerprint: str
    versions: Mapping[str, str] = field(default=FrozenMapping())
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task, as a value: equal tasks have equal data.

    Args:
        name: also a file name and the name in every table.
        kind: text-classification, text-generation, language-modeling or image-classification.
        train: where the training rows come from.
        test: where the test rows come from.
        validation: where the validation rows come from; None takes `validation_fraction` of the
            training rows, chosen by content hash, repeated inputs on one side.
        columns: our name (text, label, target, image, id) to the data's; the same name otherwise.
            For text and target also a template over the data's columns: "{question} {passage}".
        labels: class names in label-id order. A string in the data is a name; so is a whole number
            where any label reads as one; otherwise it is a position in this list.
        label_names: what the data calls a label, to our name, where the two differ.
        verbalizers: what a language model says for each label; the labels where left out.
        prompt: `str.format` template over `text` and further columns; the target follows as
            " " + target. Of no effect for language-modeling and image-classification.
        score: id of the score; "" is the kind's own (`values.SCORES`).
        limit: how many examples of each split are used. Without `limit.validation`, a validation
            split taken from train has at most `validation_fraction` of `limit.train`.
        validation_fraction: share in [0, 1) of the training rows; 0 leaves validation empty.
        classes: use only the rows with these labels; None uses all.

    Raises:
        InputError: listing everything that is wrong, not the first thing only.
    """

    name: str
    kind: Kind
    train: Source
    test: Source
    validation: Source | None = None
    columns: Mapping[str, str] = field(default=FrozenMapping())
    labels: tuple[str, ...] = ()
    label_names: Mapping[str, str] = field(default=FrozenMapping())
    verbalizers: tuple[str, ...] = ()
    prompt: str = PROMPT
    score: str = ""
    limit: Limit = field(default=Limit())
    validation_fraction: float = 0.1
    classes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        self._set("columns", freeze(self.columns))
        self._set("labels", tuple(str(label) for label in self.labels))
        self._set("label_names", freeze({str(k): str(v) for k, v in self.label_names.items()}))
        self._set("verbalizers", tuple(self.verbalizers) or self.labels)
        if self.classes is not None:
            self._set("classes", tuple(str(name) for name in self.classes))
        given = {f.name: self.__dict__[f.name] for f in fields(self)}
        refuse(f"task {self.name!r}", task_problems(given))
        self._set("score", self.score or SCORES[self.kind][0])

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels of this task's examples: `classes`, or all labels."""
        return self.labels if self.classes is None else self.classes

    @property
    def fields(self) -> tuple[str, ...]:
        """The columns that the prompt names beside the text."""
        if self.kind not in ("text-classification", "text-generation"):
            return ()
        return tuple(name for name in prompt_fields(self.prompt) if name != "text")

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the task's definition, without the content of its files."""
        values = {f.name: self.__dict__[f.name] for f in fields(self)}
        return digest(values)

    def text_for(self, label: str) -> str:
        """Return what a language model says for a label."""
        return self.verbalizers[self.labels.index(label)]

    def render(self, example: Example) -> str:
        """Return the prompt of an example; the answer follows it after one space."""
        if self.kind not in ("text-classification", "text-generation"):
            return example.text
        return self.prompt.format_map({**example.fields, "text": example.text})

    def load(self) -> TaskData:
        """Read, check and split the data; a second call returns the first one's result.

        Raises:
            InputError: a source, a column, a label or a split is not what the task says.
        """
        from continual.scenario.loading import load_task

        sources = [self.train, self.test, *([self.validation] if self.validation else [])]
        return load_task(self, tuple(source.state() for source in sources))


def is_classification(task: Task) -> bool:
    """Say whether labels compete in this task."""
    return task.kind in CLASSIFICATION
