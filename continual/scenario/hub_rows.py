"""The rows of a data set of the hub, at the commit that is recorded.

datasets itself answers any failure with what it prepared last, whichever revision that was; here
a prepared copy is used only where it is of the very commit (`continual.scenario.prepared`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from continual.errors import InputError, nearest
from continual.hub import Repo, explain, locate, transport_error
from continual.scenario.prepared import AS_FILES, not_prepared, prepared
from continual.scenario.sources import HubSource

if TYPE_CHECKING:
    from datasets import Dataset

PROBE = ".gitattributes"  # in every repository; of a gated one all but README.md is protected
LONGEST = 300  # characters of what a library says


def read_hub(source: HubSource) -> tuple[Dataset, Mapping[str, str]]:
    """Return the rows of a split, and the commit that they are of by name of the data set.

    Raises:
        InputError: there is no such data set, revision, config or split, it may not be read, or
            it can neither be reached nor found in the cache.
    """
    from datasets import config

    repo = Repo(
        id=source.hub,
        kind="dataset",
        what=source.describe(),
        otherwise=AS_FILES,
        revision=source.revision,
        offline=config.HF_HUB_OFFLINE,
    )
    _check_id(source)
    commit = locate(repo, PROBE)
    name = f"{source.hub}@{source.revision}" if source.revision else source.hub
    return _rows(source, repo, commit), {name: commit}


def _check_id(source: HubSource) -> None:
    if source.hub.count("/") != 1:
        raise InputError(
            f"cannot load {source.describe()}: a data set of the hub is named owner/name, as in "
            "stanfordnlp/imdb; its page on the hub shows the name."
        )


def _rows(source: HubSource, repo: Repo, commit: str) -> Dataset:
    from datasets.exceptions import DatasetsError

    try:
        builder = prepared(source, commit)
        if builder is None:
            builder = _build(source, repo, commit)
        _check_split(source, builder)
        builder.download_and_prepare()
        return builder.as_dataset(split=source.split)
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, transport_error(), DatasetsError) as error:
        reason = explain(repo, error) or _why(error)
        raise InputError(f"cannot load {source.describe()}: {reason}") from error


def _why(error: BaseException) -> str:
    if "scripts are no longer supported" in str(error):
        return (
            "it is made by a Python script of its own, which is not run. Its rows as parquet are "
            f"often in `revision: refs/convert/parquet`; or {AS_FILES}."
        )
    if isinstance(error, FileNotFoundError):  # datasets lists every suffix that it knows
        return (
            "it has no files of rows in a known format, or not those that its card names. Look at "
            f"its page on the hub, or {AS_FILES}."
        )
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    line = (str(cause).strip() or type(cause).__name__).splitlines()[0].rstrip(".")
    return f"{shorten(line, LONGEST)}. Look at its page on the hub, or {AS_FILES}."


def _build(source: HubSource, repo: Repo, commit: str) -> Any:
    """Return the builder of datasets for this commit, having asked the hub for its files."""
    from datasets import load_dataset_builder

    if repo.offline:
        raise not_prepared(source, commit)
    # A folder of that name in the working directory is not what was asked for.
    path = f"hf://datasets/{source.hub}" if Path(source.hub).exists() else source.hub
    try:
        builder = load_dataset_builder(path, name=source.config, revision=commit)
    except ValueError as error:
        if refusal := _wrong_config(source, path, commit):
            raise refusal from error
        raise
    if builder.hash != commit:
        raise not_prepared(source, commit)
    return builder


def _wrong_config(source: HubSource, path: str, commit: str) -> InputError | None:
    from datasets import get_dataset_config_names

    try:
        names = get_dataset_config_names(path, revision=commit)
    except (OSError, ValueError, RuntimeError, transport_error()):
        return None  # then the first error says what is wrong
    if source.config is None:
        return InputError(
            f"{source.describe()} has several configurations; name one of {names} with `config`."
        )
    if source.config in names:
        return None
    return _none_such(source, "config", source.config, names)


def _check_split(source: HubSource, builder: Any) -> None:
    """Name the splits before anything is downloaded, where the data set tells them."""
    known = [str(name) for name in (builder.info.splits or builder.config.data_files or ())]
    asked = [part.split("[")[0].strip() for part in source.split.split("+")]
    for name in asked:
        if known and name not in (*known, "all"):
            raise _none_such(source, "split", name, known)


def _none_such(source: HubSource, what: str, given: str, known: Sequence[str]) -> InputError:
    return InputError(
        f"hub dataset {source.hub!r} has no {what} {given!r}; "
        f"it has {sorted(known)}{nearest(given, known) or '.'}"
    )
