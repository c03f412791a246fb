"""One pass over the rows of a source: what each row is, and whether it can be used."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from continual.errors import InputError
from continual.scenario.columns import columns_of, fields_of
from continual.scenario.images import stored
from continual.scenario.label_reading import LabelReader, label_indices
from continual.scenario.split import BATCH, PICTURES
from continual.scenario.task import Task, is_classification

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows of one source, with what was learned by reading them once; images as stored.

    `hashes` are of the whole example (input and answer), `inputs` of the input alone with white
    space collapsed: (rows,) uint64. `labels` are indices into `Task.labels`; `ids` are those of the
    data's own id column.
    """

    part: str
    dataset: Dataset
    columns: Mapping[str, str]
    fields: Mapping[str, str]
    hashes: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray | None
    ids: tuple[str, ...] | None

    def take(self, rows: np.ndarray) -> Table:
        """Return the table of these rows."""
        return Table(
            part=self.part,
            dataset=self.dataset.select(rows),
            columns=self.columns,
            fields=self.fields,
            hashes=self.hashes[rows],
            inputs=self.inputs[rows],
            labels=None if self.labels is None else self.labels[rows],
            ids=None if self.ids is None else tuple(self.ids[i] for i in rows),
        )


def scan(task: Task, part: str, dataset: Dataset) -> Table:
    """Check every row of a source and hash it.

    Raises:
        InputError: a column is missing, an answer is missing or unknown, or an image is no image.
    """
    dataset, columns = columns_of(task, part, dataset)
    fields = fields_of(task, part, dataset)
    used = list(dict.fromkeys([*columns.values(), *fields.values()]))
    dataset = _undecoded(dataset.select_columns(used).with_format(None), columns.get("image"))
    reader = LabelReader.of(task, dataset, columns["label"]) if "label" in columns else None
    hashes, inputs, labels, ids = [], [], [], []
    missing: Counter[str] = Counter()
    for batch in _batches(dataset, PICTURES if "image" in columns else BATCH):
        for row in zip(*(batch[column] for column in used), strict=True):
            cells = dict(zip(used, row, strict=True))
            missing.update(c for c, value in cells.items() if value is None)
            label = "" if reader is None else reader.read(cells[columns["label"]])
            whole, asked = _hashes(cells, columns, fields, label)
            hashes.append(whole)
            inputs.append(asked)
            labels.append(label)
            ids.append(str(cells[columns["id"]]) if "id" in columns else "")
    _refuse_missing(task, part, missing, len(hashes))
    return Table(
        part=part,
        dataset=dataset,
        columns=columns,
        fields=fields,
        hashes=np.array(hashes, dtype=np.uint64),
        inputs=np.array(inputs, dtype=np.uint64),
        labels=label_indices(task, part, labels) if is_classification(task) else None,
        ids=tuple(ids) if "id" in columns else None,
    )


def content_hash(*parts: bytes) -> int:
    """Return a 64-bit hash that no boundary between the parts can forge."""
    hasher = hashlib.blake2b(digest_size=8)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "big"))
        hasher.update(part)
    return int.from_bytes(hasher.digest(), "big")


def _hashes(
    cells: Mapping[str, Any], columns: Mapping[str, str], fields: Mapping[str, str], label: str
) -> tuple[int, int]:
    if "image" in columns:
        image = cells[columns["image"]]
        asked = content_hash(b"" if image is None else stored(image))
    else:
        texts = [cells[columns["text"]], *(cells[fields[name]] for name in sorted(fields))]
        asked = content_hash(*(" ".join(str(text).split()).encode() for text in texts))
    exact = [str(cells[columns["text"]])] if "text" in columns else []
    target = str(cells[columns["target"]]) if "target" in columns else ""
    said = [*exact, label, target]
    return content_hash(asked.to_bytes(8, "big"), *(word.encode() for word in said)), asked


def _batches(dataset: Dataset, size: int = BATCH) -> Iterator[dict[str, list[Any]]]:
    for start in range(0, len(dataset), size):
        yield dataset[start : start + size]


def _undecoded(dataset: Dataset, image: str | None) -> Dataset:
    from datasets import Image

    if image is not None and isinstance(dataset.features[image], Image):
        return dataset.cast_column(image, Image(decode=False))
    return dataset


def _refuse_missing(task: Task, part: str, missing: Counter[str], rows: int) -> None:
    if missing:
        counts = ", ".join(f"{count} in {column!r}" for column, count in missing.items())
        raise InputError(
            f"task {task.name!r}, {part}: values are missing in {rows} rows: {counts}. "
            "Fill them or leave those rows out."
        )


def blank_texts(table: Table) -> int:
    """Return how many rows have nothing but white space as text."""
    column = table.columns.get("text", "")
    batches = _batches(table.dataset.select_columns([column])) if column else ()
    return sum(not str(text).strip() for batch in batches for text in batch[column])
