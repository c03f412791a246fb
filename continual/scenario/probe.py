"""A probe: a fixed held-out text that is never trained on; its perplexity measures drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import UInt64

from continual.errors import InputError, nearest
from continual.scenario.choosing import inside, smallest
from continual.scenario.frozen import FrozenMapping, digest
from continual.scenario.problems import name_problems, refuse
from continual.scenario.reading import quiet, read
from continual.scenario.rows import content_hash
from continual.scenario.sources import FileSource, HubSource, Source


@dataclass(frozen=True, kw_only=True)
class ProbeData:
    """The documents of a probe, and 16 hexadecimal digits of their content."""

    documents: tuple[str, ...]
    fingerprint: str
    versions: Mapping[str, str] = field(default=FrozenMapping())


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A named text corpus; `limit` uses the documents with the smallest content hash.

    Raises:
        InputError: the name cannot be a file name, or the limit is below 1.
    """

    name: str
    source: Source
    column: str = "text"
    limit: int | None = None

    def __post_init__(self) -> None:
        refuse("probe", name_problems("name", self.name))
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise InputError(f"probe limit must be a whole number >= 1; got {self.limit!r}.")

    @property
    def digest(self) -> str:
        """16 hexadecimal digits of the probe's definition."""
        return digest([self.name, self.source, self.column, self.limit])

    def load(self) -> ProbeData:
        """Read the documents, without the blank ones; a second call returns the first's result.

        Raises:
            InputError: the source or the column is missing, or no document has text.
        """
        return _load(self, self.source.state())


@lru_cache(maxsize=64)
def _load(probe: Probe, state: str) -> ProbeData:
    dataset, versions = read(probe.source)
    if probe.column not in dataset.column_names:
        raise InputError(
            f"probe {probe.name!r} has no column {probe.column!r}; the data has "
            f"{dataset.column_names}{nearest(probe.column, dataset.column_names)}."
        )
    source = probe.source
    with quiet():
        texts = dataset.select_columns([probe.column])[:][probe.column]
    documents = [str(text) for text in texts if text is not None and str(text).strip()]
    if isinstance(source, HubSource | FileSource) and source.share is not None:
        documents = [documents[i] for i in inside(_keys(documents), source.share, None)]
    if not documents:
        raise InputError(f"probe {probe.name!r}: no document of {len(texts)} has text.")
    if probe.limit is not None:
        documents = [documents[i] for i in smallest(_keys(documents), probe.limit)]
    return ProbeData(documents=tuple(documents), fingerprint=digest(documents), versions=versions)


def _keys(documents: list[str]) -> UInt64[np.ndarray, " documents"]:
    return np.array([content_hash(text.encode()) for text in documents], dtype=np.uint64)
