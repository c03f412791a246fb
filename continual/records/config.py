"""run.yaml, as far as a record reads it: the run room writes more, and it is handed on as it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.records.files import DamagedFileError
from continual.records.paths import RUN

REQUIRED = ("scenario", "method", "backbone", "seed", "tasks")


def read_config(path: Path) -> dict[str, Any]:
    """Read run.yaml and check the keys that a record is made of.

    Raises:
        InputError: this is not a run directory, or run.yaml lacks a key.
        DamagedFileError: run.yaml is not valid YAML.
    """
    import yaml

    if not path.is_dir():
        raise InputError(
            f"{path} is not a directory; give a run directory, as `continual run` makes."
        )
    file = path / RUN
    if not file.is_file():
        raise InputError(
            f"{path} is not a run directory: it has no {RUN}. `continual run` makes one."
        )
    try:
        config = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, RecursionError) as error:
        raise DamagedFileError(f"{file} is damaged ({error}). Restore it from a copy.") from error
    missing = (
        [key for key in REQUIRED if key not in config] if isinstance(config, dict) else REQUIRED
    )
    if missing:
        raise InputError(f"{file} does not describe a run: it lacks {', '.join(missing)}.")
    _check_tasks(file, config["tasks"])
    if not isinstance(config["seed"], int):
        raise InputError(f"{file}: seed must be a whole number; got {config['seed']!r}.")
    return config


def _check_tasks(file: Path, tasks: Sequence[Any]) -> None:
    whole = isinstance(tasks, list) and all(
        isinstance(task, dict) and {"name", "score"} <= task.keys() for task in tasks
    )
    if not whole or not tasks:
        raise InputError(f"{file}: tasks must be a list of mappings with name and score.")


def name_of(value: Any) -> str:
    """Return the name of what is written as a name or as a mapping with one."""
    return str(value.get("name", "")) if isinstance(value, dict) else str(value)


def flatten(value: Any, path: str) -> dict[str, str]:
    """Return nested mappings as one, with dotted keys and text values.

    >>> flatten({"train": {"epochs": 2}, "targets": ["q", "v"]}, "run")
    {'run.train.epochs': '2', 'run.targets': 'q, v'}
    """
    if isinstance(value, Mapping):
        found: dict[str, str] = {}
        for key, inner in value.items():
            found.update(flatten(inner, f"{path}.{key}" if path else str(key)))
        return found
    if isinstance(value, list | tuple):
        return {path: ", ".join(str(inner) for inner in value)}
    return {path: str(value)}
