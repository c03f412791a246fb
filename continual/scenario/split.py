"""A split of a task: examples over an Arrow table, read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from continual.errors import unknown
from continual.scenario.frozen import digest
from continual.scenario.images import to_array
from continual.scenario.values import Example

if TYPE_CHECKING:
    from datasets import Dataset

BATCH = 1000  # rows read at once while iterating
PICTURES = 64  # the same of images, as they are stored: a compressed one may take megabytes


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The class names of a task and what a language model says for each."""

    labels: tuple[str, ...]
    verbalizers: tuple[str, ...]


class Split(Sequence[Example]):
    """Examples in the order of their rows; memory-mapped where the data is.

    Slices and `select` give splits, an index gives an `Example`. Read whole columns with `column`:
    one access for all rows. Iterating reads many rows at a time, and decodes one image at a time:
    an image lives as long as its example.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        columns: Mapping[str, str],
        fields: Mapping[str, str],
        ids: Sequence[str],
        hashes: np.ndarray,
        labels: np.ndarray | None,
        answers: Answers,
    ) -> None:
        """Wrap rows that were checked when they were loaded; see `continual.scenario.loading`.

        Args:
            dataset: one row per example, images not decoded.
            columns: our column names to the dataset's.
            fields: names in the prompt to the dataset's columns.
            ids: one id per row, distinct.
            hashes: (len,) uint64, the content hash of each row.
            labels: (len,) indices into `answers.labels`, or None for a kind without labels.
            answers: class names and their texts.
        """
        self._dataset = dataset
        self._columns = columns
        self._fields = fields
        self._ids = tuple(ids)
        self._hashes = hashes
        self._labels = labels
        self._answers = answers

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the content of every example, its label and the order."""
        names = [self._answers.labels[i] for i in self.column("label")] if self._has_labels else []
        return digest([self._hashes.tolist(), list(self._ids), names])

    @property
    def _has_labels(self) -> bool:
        return self._labels is not None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names that `column` knows."""
        names = [name for name in self._columns if name not in ("id", "label", "target")]
        names += [name for name in self._fields if name not in names]
        return ("id", *names, *(("label",) if self._has_labels else ()), *self._with_target)

    @property
    def _with_target(self) -> tuple[str, ...]:
        return ("target",) if self._has_labels or "target" in self._columns else ()

    def column(self, name: str) -> list[Any]:
        """Return one column: "id", "text", "label", "target", "image", or a field of the prompt.

        A column of images is all of them decoded at once; iterate where they are large or many.

        Raises:
            InputError: the split has no such column.
        """
        if name not in self.columns:
            raise unknown("column", name, self.columns)
        if name == "id":
            return list(self._ids)
        if self._labels is not None and name in ("label", "target"):
            texts = self._answers.verbalizers
            indices = self._labels.tolist()
            return indices if name == "label" else [texts[i] for i in indices]
        stored = self._columns.get(name) or self._fields[name]
        return [_value(name, value) for value in self._dataset.select_columns([stored])[:][stored]]

    def table(self) -> Dataset:
        """Return the rows under our own column names, with class names for labels.

        Texts are text and images are what the data holds, so that equal examples come of it.
        """
        from datasets import Dataset, Image, concatenate_datasets

        texts = {name: self.column(name) for name in self.columns if name not in ("id", "image")}
        if self._labels is not None:
            texts["label"] = [self._answers.labels[i] for i in self._labels.tolist()]
            del texts["target"]
        if "id" in self._columns:
            texts["id"] = list(self._ids)
        table = Dataset.from_dict(texts)
        if "image" not in self._columns:
            return table
        column = self._columns["image"]
        images = self._dataset.select_columns([column]).rename_columns({column: "image"})
        if isinstance(images.features["image"], Image):  # what is to be decoded is written whole
            images = images.cast_column("image", Image())
        return concatenate_datasets([images.flatten_indices(), table], axis=1)

    def select(self, indices: Sequence[int] | np.ndarray) -> Split:
        """Return the split of these rows, in this order."""
        chosen = np.arange(len(self))[np.asarray(indices, dtype=np.int64)]
        return Split(
            self._dataset.select(chosen),
            columns=self._columns,
            fields=self._fields,
            ids=[self._ids[i] for i in chosen],
            hashes=self._hashes[chosen],
            labels=None if self._labels is None else self._labels[chosen],
            answers=self._answers,
        )

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Split: ...
    def __getitem__(self, index: int | slice) -> Example | Split:
        """Return one example, or the split of a slice."""
        if isinstance(index, slice):
            return self.select(range(*index.indices(len(self))))
        return next(self._examples(range(len(self))[index], 1))

    def __iter__(self) -> Iterator[Example]:
        """Yield every example; each iteration starts at the first."""
        size = PICTURES if "image" in self._columns else BATCH
        for start in range(0, len(self), size):
            yield from self._examples(start, min(size, len(self) - start))

    def __repr__(self) -> str:
        """Return the size and the columns."""
        return f"Split({len(self)} examples: {', '.join(self.columns)})"

    def _examples(self, start: int, count: int) -> Iterator[Example]:
        rows = self._dataset[start : start + count]
        stored = {
            name: rows[column]
            for name, column in {**self._columns, **self._fields}.items()
            if name not in ("id", "label")
        }
        for i in range(count):
            cells = {name: _value(name, values[i]) for name, values in stored.items()}
            yield self._example(start + i, cells)

    def _example(self, row: int, stored: Mapping[str, Any]) -> Example:
        label = None if self._labels is None else int(self._labels[row])
        return Example(
            id=self._ids[row],
            text=stored.get("text", ""),
            label=label,
            target=stored.get("target", "") if label is None else self._answers.verbalizers[label],
            image=stored.get("image"),
            fields={name: stored[name] for name in self._fields},
        )


def _value(name: str, value: Any) -> Any:
    return to_array(value) if name == "image" else str(value)
