"""The small values of a scenario: kinds, settings, examples, limits, candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from continual.errors import InputError
from continual.scenario.frozen import FrozenMapping, freeze

if TYPE_CHECKING:
    import numpy as np

    from continual.scenario.task import Task

Kind = Literal[
    "text-classification", "text-generation", "language-modeling", "image-classification"
]
Setting = Literal["task-incremental", "domain-incremental", "class-incremental"]

KINDS: tuple[str, ...] = get_args(Kind)
SETTINGS: tuple[str, ...] = get_args(Setting)
CLASSIFICATION = ("text-classification", "image-classification")

# The scores of what a model writes freely; all but the first are graded (`metrics.generation`).
WRITTEN = ("exact_match", "rouge_l", "edit_similarity", "sari")

# The scores that a kind of task may choose; the first is its default.
SCORES: dict[str, tuple[str, ...]] = {
    "text-classification": ("accuracy", "exact_match"),
    "text-generation": WRITTEN,
    "language-modeling": ("token_accuracy",),
    "image-classification": ("accuracy",),
}

# Our column names that a kind of task reads; `id` is read only where it is mapped.
COLUMNS: dict[str, tuple[str, ...]] = {
    "text-classification": ("text", "label", "id"),
    "text-generation": ("text", "target", "id"),
    "language-modeling": ("text", "id"),
    "image-classification": ("image", "label", "id"),
}

PROMPT = "{text}\nAnswer:"


def is_template(column: str) -> bool:
    """Say whether a column of the data is written out of others, as "{title}: {body}" is."""
    return "{" in column


@dataclass(frozen=True, kw_only=True)
class Example:
    """One example of a split.

    `id` is the example's content hash (16 hexadecimal digits) unless the data has an id column.
    `label` is an index into `Task.labels`; `target` is what a language model must say: the
    verbalised label, or the generation target. `image` is (H, W) or (H, W, 3), float32 in [0, 1],
    read-only. `fields` are the further columns that the prompt names.
    """

    id: str
    text: str = ""
    label: int | None = None
    target: str = ""
    image: np.ndarray | None = field(default=None, compare=False)
    fields: Mapping[str, str] = field(default=FrozenMapping())

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", freeze(self.fields))


@dataclass(frozen=True, kw_only=True)
class Limit:
    """How many examples of each split are used; None uses all of them.

    The examples with the smallest content hash are used, so the choice depends neither on the
    order of the rows nor on what else is in the data.

    Raises:
        InputError: a limit is not a whole number of at least 1.
    """

    train: int | None = None
    validation: int | None = None
    test: int | None = None

    def __post_init__(self) -> None:
        for split in ("train", "validation", "test"):
            value = {"train": self.train, "validation": self.validation, "test": self.test}[split]
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"limit.{split} must be a whole number >= 1; got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Experience:
    """The training occasion `index`: its task, and the labels that are seen here first."""

    index: int
    task: Task
    new_labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The labels that compete when a task is scored.

    `labels` are class names and `texts` what a language model says for each; `head` is the head
    that owns them (a task's name, or "shared"); `current` are the positions in `labels` of those
    that belong to the scored task. A task without labels has no competitors: all three are empty.
    """

    head: str
    labels: tuple[str, ...]
    texts: tuple[str, ...]
    current: tuple[int, ...]
