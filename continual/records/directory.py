"""What is at a run's directory before anything is loaded, and what differs from it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from continual.errors import InputError
from continual.records.files import DamagedFileError, read_json
from continual.records.lock import nothing_yet
from continual.records.paths import ENVIRONMENT, RUN
from continual.records.run_record import RunRecord

FIXED = ("data", "asked", "probes", "backbone")  # what must not change under a run


def find_run(
    folder: Path, config: Mapping[str, Any], *, free: Collection[str] = ()
) -> RunRecord | None:
    """Look at what is at ``folder`` before anything is loaded.

    Args:
        folder: where a run is, or will be.
        config: its configuration, as run.yaml has it.
        free: keys in which the configuration there may differ.

    Returns:
        The record of the run that is there, finished or not; None where nothing is yet.

    Raises:
        InputError: the directory holds something else, or a run with another configuration.
    """
    path = folder / RUN
    if not path.exists():
        if folder.is_dir() and not nothing_yet(folder):
            raise InputError(
                f"{folder} is not empty and is no run directory (it has no run.yaml). "
                "Give --out a new path."
            )
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; --out takes a directory.")
        return None
    changed = _fixed(folder, config, free)
    if changed:
        raise InputError(
            f"{folder} holds a run with another configuration:\n  "
            + "\n  ".join(changed)
            + "\nGive the settings of that run to continue it, or --out a new directory."
        )
    return RunRecord.open(folder)


def _fixed(folder: Path, config: Mapping[str, Any], free: Collection[str]) -> list[str]:
    there = _written(folder)
    if not isinstance(there, dict):
        return [f"{RUN}: {there!r} (there), which describes no run"]
    kept = {key: value for key, value in there.items() if key not in free}
    return differences(kept, {key: value for key, value in config.items() if key not in free})


def _written(folder: Path) -> Any:
    """Return what run.yaml says.

    Raises:
        DamagedFileError: it is not YAML.
    """
    try:
        return yaml.safe_load((folder / RUN).read_bytes())
    except (yaml.YAMLError, RecursionError) as error:
        raise DamagedFileError(
            f"{folder / RUN} is damaged ({error}). Restore it from a copy."
        ) from error


def check_unchanged(
    folder: Path,
    environment: Mapping[str, Any],
    fixed: Collection[str] = FIXED,
    *,
    data: str | None = None,
) -> None:
    """Raise ``InputError`` unless what must not change is as it was when the run began.

    Args:
        folder: the run's directory.
        environment: the facts about the run now.
        fixed: the facts that must not change; those that the run did not record are not compared.
        data: the folder that the data is read from now, "" for the scenario's own sources; None
            where runs of this kind have none.
    """
    known = read_json(folder / ENVIRONMENT)
    changed = [
        line
        for name in fixed
        if name in known
        for line in differences(known[name], environment[name], name)
    ]
    if changed:
        raise InputError(
            f"the tasks, data or backbone of {folder} changed since the run began:\n  "
            + "\n  ".join(changed)
            + f"\n{'' if data is None else moved_data(folder, data)}"
            + "Restore what it began with, or start again in a new directory."
        )


def moved_data(folder: Path, data: str) -> str:
    """Return a sentence where a run goes on with the data of another folder, or ""."""
    path = folder / RUN
    began = _written(folder).get("data", "") if path.exists() else data
    if began == data:
        return ""
    names = {
        name: f"--data {name}" if name else "the scenario's own sources" for name in (began, data)
    }
    return f"The run began with {names[began]} and was continued with {names[data]}. "


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return one line per place where two nested values differ: ``path: old -> new``.

    Entries of a list that have names, such as tasks, are compared one by one.

    >>> differences({"train": {"lr": 0.1}}, {"train": {"lr": 0.2}})
    ['train.lr: 0.1 (there) -> 0.2 (given)']
    """
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))
        ]
    if _names(old) and _names(old) == _names(new):
        pairs = zip(_names(old), old, new, strict=True)
        return [line for n, a, b in pairs for line in differences(a, b, f"{path}.{n}".lstrip("."))]
    return [] if old == new else [f"{path}: {old!r} (there) -> {new!r} (given)"]


def _names(entries: Any) -> list[str]:
    """Return the names of a list's entries; nothing where it is no list of named entries."""
    if not isinstance(entries, list):
        return []
    named = [entry["name"] for entry in entries if isinstance(entry, dict) and "name" in entry]
    return named if len(named) == len(entries) else []
