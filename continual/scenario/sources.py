"""Where rows come from: the Hugging Face hub, a file or folder, a Python callable, or memory.

A source is a frozen value; `continual.scenario.reading.read` turns it into a `datasets.Dataset`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from continual.errors import InputError, unknown
from continual.scenario.choosing import check_share, share_text
from continual.scenario.formats import bad_suffix, file_format
from continual.scenario.frozen import (
    FrozenMapping,
    dataset_digest,
    digest,
    freeze,
    is_dataset,
)
from continual.scenario.local_source import LocalSource

if TYPE_CHECKING:
    from datasets import Dataset

SampleBy = Literal["line", "paragraph", "document"]


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """One split of a dataset on the Hugging Face hub; `revision` pins its version.

    `share` (low, high) keeps that part of every class, in the order of content hashes.

    Raises:
        InputError: `share` is not two rising numbers in [0, 1].
    """

    hub: str
    split: str
    config: str | None = None
    revision: str | None = None
    share: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_share(self.share)

    def describe(self) -> str:
        """Return the source as a reader of an error message would write it."""
        config = f" ({self.config})" if self.config else ""
        return f"hub dataset {self.hub!r}{config}, split {self.split!r}{share_text(self.share)}"

    def state(self) -> str:
        """Return "": the value itself says what is read."""
        return ""


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """A csv, tsv, json, jsonl, parquet or text file (.gz, .bz2, .xz or .zst too), or images.

    `sample_by` says what one row of a text file is. A folder holds one folder of images per label.
    A relative `file` starts from the working directory; `load_scenario` makes it start from the
    YAML file. `share` is as in `HubSource`.

    Raises:
        InputError: the suffix is unknown, or `sample_by` is, or `share` is not what it must be.
    """

    file: str
    sample_by: SampleBy = "line"
    share: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", str(self.file))
        check_share(self.share)
        if self.sample_by not in get_args(SampleBy):
            raise unknown("sample_by", self.sample_by, get_args(SampleBy))
        if file_format(self.file) is None and not Path(self.file).is_dir():
            raise InputError(bad_suffix(self.file))

    def describe(self) -> str:
        """Return the source as a reader of an error message would write it."""
        return f"file {self.file}{share_text(self.share)}"

    def state(self) -> str:
        """Return what changes when the file does, or "" where there is no file."""
        path = Path(self.file)
        if not path.exists():
            return ""
        paths = sorted(path.rglob("*")) if path.is_dir() else [path]
        return digest([[str(p), s.st_size, s.st_mtime_ns] for p in paths for s in [p.stat()]])


@dataclass(frozen=True, kw_only=True)
class CallableSource:
    """A Python function `module:function` that returns rows; called as `function(**params)`.

    It returns a sequence of mappings, a `datasets.Dataset`, or `Rows` to state versions too. It
    must return the same rows every time. A module that is not installed is looked for in `folder`
    (the folder of the YAML file). Loading such a scenario runs that module's code.
    """

    callable: str
    params: Mapping[str, Any] = field(default=FrozenMapping())
    folder: str = field(default="", compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "params", freeze(self.params))
        module, colon, function = self.callable.partition(":")
        names = [*module.split("."), function]
        if not colon or not all(name.isidentifier() for name in names):
            raise InputError(
                f"callable must be 'module:function'; got {self.callable!r}. "
                "Write the importable module, a colon, and the function's name."
            )

    def describe(self) -> str:
        """Return the source as a reader of an error message would write it."""
        params = ", ".join(f"{key}={value!r}" for key, value in self.params.items())
        return f"callable {self.callable}({params})"

    def state(self) -> str:
        """Return what changes when the module beside the YAML file does, or ""."""
        beside = self.beside()
        return "" if beside is None else digest([str(beside), beside.stat().st_mtime_ns])

    def beside(self) -> Path | None:
        """Return the file of the module in `folder`, or None where there is none."""
        path = Path(self.folder, f"{self.callable.partition(':')[0]}.py")
        return path if self.folder and path.is_file() else None


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RowsSource:
    """Rows in memory: a sequence of mappings, or a `datasets.Dataset`; equal where the rows are.

    Raises:
        InputError: `rows` is something else.
    """

    rows: Sequence[Mapping[str, Any]] | Dataset

    def __post_init__(self) -> None:
        if is_dataset(self.rows):
            return
        rows = tuple(self.rows) if isinstance(self.rows, Sequence) else None
        if rows is None or not all(isinstance(row, Mapping) for row in rows):
            kind = type(self.rows).__name__
            what = f"{kind} of {type(rows[0]).__name__}" if rows else kind
            raise InputError(
                f"rows must be a sequence of mappings or a datasets.Dataset; got {what}. "
                "Of a DatasetDict give one split; make a generator a list."
            )
        object.__setattr__(self, "rows", tuple({**row} for row in rows))

    @cached_property
    def content(self) -> str:
        """The digest of the rows, which is also what makes two sources equal."""
        if is_dataset(self.rows):
            return dataset_digest(self.rows)  # type: ignore[arg-type]
        return digest(self.rows)

    def __eq__(self, other: object) -> bool:
        """Compare by the content of the rows."""
        return isinstance(other, RowsSource) and self.content == other.content

    def __hash__(self) -> int:
        """Hash the content of the rows."""
        return hash(self.content)

    def __repr__(self) -> str:
        """Return the number of rows and the digest of their content."""
        return f"RowsSource({len(self.rows)} rows, {self.content})"

    def describe(self) -> str:
        """Return the source as a reader of an error message would write it."""
        return "rows in memory"

    def state(self) -> str:
        """Return "": the value itself says what is read."""
        return ""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What a callable may return to state the versions that decided its rows."""

    rows: Sequence[Mapping[str, Any]] | Dataset
    versions: Mapping[str, str] = field(default=FrozenMapping())


Source = HubSource | FileSource | CallableSource | RowsSource | LocalSource
