"""Scenario files: the catalogue, validation with every problem at once, and loading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from continual.errors import InputError, unknown
from continual.scenario.local import with_data
from continual.scenario.problems import Problem, refuse
from continual.scenario.sequence import Scenario

ROOM = Path(__file__).resolve().parent


def catalogue() -> dict[str, Path]:
    """Return the scenarios that come with the library, by name.

    They lie in the package, or in `scenarios/` of a checkout of the repository.
    """
    packaged, checkout = ROOM / "catalogue", ROOM.parent.parent / "scenarios"
    folder = packaged if packaged.is_dir() else checkout
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_scenario(
    name_or_path: str | Path,
    *,
    order: str | int | None = None,
    data: str | Path | None = None,
) -> Scenario:
    """Return a scenario of the catalogue, or the one in a YAML file.

    The data itself is read by `Task.load`. A scenario that names a Python callable runs its code
    when its data is read.

    Args:
        name_or_path: a name of the catalogue, or the path of a .yaml file.
        order: a named permutation of the file, or a seed for an order of the tasks.
        data: a folder with the data of all tasks, instead of their sources; see `with_data`.

    Raises:
        InputError: there is no such scenario or order, or the file has problems, or the folder
            lacks files; all are listed.
    """
    from continual.scenario.building import build

    path = find(name_or_path)
    values, problems = _examined(_text(path), path.parent)
    refuse(str(path), problems)
    scenario = build(values, path.parent)
    if order is not None:
        by_seed = type(order) is int
        scenario = scenario.shuffled(order) if by_seed else scenario.permuted(str(order))
    return scenario if data is None else with_data(scenario, data)


def validate_scenario(path_or_text: str | Path) -> list[Problem]:
    """Return every problem of a scenario file, or of YAML text (a str with a line break).

    Files that it names must exist; hub datasets and callables are not touched. Relative files of
    a text are looked for in the working directory.

    Raises:
        InputError: there is no such file.
    """
    if isinstance(path_or_text, str) and "\n" in path_or_text:
        return _examined(path_or_text, Path())[1]
    path = find(path_or_text)
    return _examined(_text(path), path.parent)[1]


def find(name_or_path: str | Path) -> Path:
    """Return the file of a scenario.

    Raises:
        InputError: it is neither a name of the catalogue nor an existing file.
    """
    known = catalogue()
    if isinstance(name_or_path, str) and name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        from continual.scenario.formats import missing_file

        raise InputError(f"scenario {missing_file(path)}")
    raise unknown("scenario", str(name_or_path), known)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read scenario file {path} as UTF-8 text: {error}.") from error


def _examined(text: str, folder: Path) -> tuple[Mapping[Any, Any], list[Problem]]:
    from continual.scenario.validation import problems_of
    from continual.scenario.yaml_file import read_yaml

    values, problems = read_yaml(text)
    if problems and values is None:
        return {}, problems
    if not isinstance(values, dict):
        return {}, [Problem(path="", given=type(values).__name__, allowed="a mapping with name, …")]
    return values, problems + problems_of(values, folder)
