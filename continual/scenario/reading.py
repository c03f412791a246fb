"""Turns a source into a `datasets.Dataset`, quietly, or into an error that says what to fix."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from continual.errors import InputError, unknown
from continual.hub import quiet as quiet_hub
from continual.scenario.formats import file_format, missing_file
from continual.scenario.frozen import FrozenMapping, is_dataset
from continual.scenario.hub_rows import read_hub
from continual.scenario.local_source import LocalSource
from continual.scenario.sources import (
    CallableSource,
    FileSource,
    HubSource,
    Rows,
    RowsSource,
    Source,
)

if TYPE_CHECKING:
    from datasets import Dataset


def read(source: Source) -> tuple[Dataset, Mapping[str, str]]:
    """Return the rows of a source, and the versions of what decided them where they are known.

    Only files and hub datasets leave anything on disk: datasets' own cache (HF_DATASETS_CACHE).

    Raises:
        InputError: the source is missing, unreadable, empty or not rows.
    """
    if isinstance(source, LocalSource):
        source.refuse()
    with quiet():
        if isinstance(source, HubSource):
            dataset, versions = read_hub(source)
        elif isinstance(source, FileSource):
            dataset, versions = _from_file(source), {}
        elif isinstance(source, CallableSource):
            dataset, versions = _from_callable(source)
        else:
            dataset, versions = _in_memory(source, source.describe()), {}
    if not len(dataset):
        raise InputError(f"{source.describe()} has no rows; a split needs at least one.")
    return dataset, FrozenMapping(versions)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and messages of datasets inside the block, and only there."""
    import datasets
    from datasets.utils import logging

    bars, level = not datasets.are_progress_bars_disabled(), logging.get_verbosity()
    datasets.disable_progress_bars()
    logging.set_verbosity(logging.CRITICAL)  # what went wrong is in the exception
    try:
        with quiet_hub():
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            datasets.enable_progress_bars()


def _from_file(source: FileSource) -> Dataset:
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    path = Path(source.file)
    if not path.exists():
        raise InputError(missing_file(path))
    loader = "imagefolder" if path.is_dir() else file_format(source.file)
    assert loader is not None  # FileSource refuses other files
    options: dict[str, Any] = {}
    if loader == "imagefolder":
        # A pattern instead of the folder: a label called "test" must not become a split.
        options = {"data_files": {"train": f"{path.resolve().as_posix()}/**"}, "drop_labels": False}
    else:
        options = {"data_files": {"train": str(path.resolve())}}
    if loader == "csv":
        # Words like "NA" and "null" are text; pandas would call them missing.
        options |= {"keep_default_na": False, "sep": "\t" if ".tsv" in path.suffixes else ","}
    if loader == "text":
        options["sample_by"] = source.sample_by
    try:
        return load_dataset(loader, split="train", **options)
    except (OSError, ValueError, DatasetsError) as error:
        cause = error.__cause__ or error
        raise InputError(
            f"cannot read {source.describe()} as {loader}: {_first_line(cause)} "
            "Open the file and check that it is what its name says."
        ) from error


def _from_callable(source: CallableSource) -> tuple[Dataset, Mapping[str, str]]:
    function = _function(source)
    params = dict(source.params)
    try:
        inspect.signature(function).bind(**params)
    except TypeError as error:
        allowed = ", ".join(inspect.signature(function).parameters) or "none"
        raise InputError(f"{source.describe()}: {error}; its parameters are: {allowed}.") from error
    rows = function(**params)
    versions: Mapping[str, str] = {}
    if isinstance(rows, Rows):
        rows, versions = rows.rows, rows.versions
    return _in_memory(RowsSource(rows=rows), source.describe()), versions


def _function(source: CallableSource) -> Callable[..., Any]:
    module_name, _, name = source.callable.partition(":")
    beside = source.beside()
    try:
        if beside is not None and importlib.util.find_spec(module_name) is None:
            specification = importlib.util.spec_from_file_location(module_name, beside)
            assert specification is not None  # the name ends in .py, so there is a loader
            assert specification.loader is not None
            module = importlib.util.module_from_spec(specification)
            specification.loader.exec_module(module)
        else:
            module = importlib.import_module(module_name)
    except ImportError as error:
        where = f" and is not a file in {source.folder}" if source.folder else ""
        raise InputError(
            f"cannot import {module_name!r} of {source.describe()}: {error}. "
            f"It is not installed{where}; install it, or add its folder to PYTHONPATH."
        ) from error
    names = vars(module)
    if not callable(names.get(name)):
        functions = [word for word, value in names.items() if inspect.isfunction(value)]
        raise unknown(f"function of module {module_name!r}", name, functions)
    return names[name]


def _in_memory(source: RowsSource, what: str) -> Dataset:
    from datasets import Dataset

    rows: Any = source.rows
    if is_dataset(rows):
        return rows
    if not rows:
        raise InputError(f"{what} has no rows; a split needs at least one.")
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    try:
        return Dataset.from_dict(columns)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{what}: the rows do not form a table: {_first_line(error)} "
            "Give every column one type in all rows."
        ) from error


def _first_line(error: BaseException) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return f"{text}."
