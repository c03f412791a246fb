"""What is at a run's directory before anything is loaded, and what differs from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from continual.errors import InputError
from continual.records import RunRecord, read_json
from continual.runs.config import RunConfig

FIXED = ("data", "probes", "backbone")  # what must not change under a run


def open_directory(folder: Path, config: RunConfig) -> RunRecord | None:
    """Look at what is at ``folder`` before anything is loaded.

    Returns:
        The record of a finished run with this very configuration; None if there is work to do.

    Raises:
        InputError: the directory holds something else, or a run with another configuration.
    """
    path = folder / "run.yaml"
    if not path.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(
                f"{folder} is not empty and is no run directory (it has no run.yaml). "
                "Give --out a new path."
            )
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder} is a file; --out takes a directory.")
        return None
    changed = differences(yaml.safe_load(path.read_text()), config.model_dump(mode="json"))
    if changed:
        raise InputError(
            f"{folder} holds a run with another configuration:\n  "
            + "\n  ".join(changed)
            + "\nGive the settings of that run to continue it, or --out a new directory."
        )
    record = RunRecord.open(folder)
    return record if record.complete else None


def check_unchanged(folder: Path, environment: Mapping[str, Any]) -> None:
    """Raise ``InputError`` unless data and backbone are those that the run began with."""
    known = read_json(folder / "environment.json")
    changed = [
        line for name in FIXED for line in differences(known.get(name), environment[name], name)
    ]
    if changed:
        raise InputError(
            f"the data or backbone of {folder} changed since the run began:\n  "
            + "\n  ".join(changed)
            + "\nRestore what it began with, or start again in a new directory."
        )


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """Return one line per place where two nested values differ: ``path: old -> new``.

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
    return [] if old == new else [f"{path}: {old!r} (there) -> {new!r} (given)"]
