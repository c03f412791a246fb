"""A study as a YAML file: what a command line becomes when it is to be kept.

scenario: cl-standard-4            # a name of the catalogue, or a file beside this one
methods: [lora, "nlora:method.lam=0.1"]
seeds: [0, 1, 2]
orders: [order-1, order-2]         # names of the scenario's, or numbers to shuffle by
backbone: google-t5/t5-large       # left out: the scenario's
data: texts                        # left out: the scenario's own sources
settings: {train: {epochs: 2}}     # of every run, as --set
values: {method.rank: [4, 8]}      # every method with each of them
search: {space: {train.lr: 1e-4..1e-1:log}, trials: 12}  # of every method, before its runs
executor: ray                      # left out: local; also address, jobs, cpus, memory, gpus
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from continual.errors import InputError
from continual.scenario import Scenario, catalogue, load_scenario
from continual.studies.grid import Grid, Order
from continual.studies.judging import Objective
from continual.studies.where import PLACES, Where


class SearchSection(BaseModel):
    """What of every method is searched before its runs; see ``searching``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    space: dict[str, str | list[Any]] = Field(min_length=1, description="by setting, as --space")
    trials: int = Field(default=20, ge=1, description="settings to try, of every method")
    tasks: int = Field(default=1, ge=1, description="the first tasks, which have been seen")
    objective: Objective = Field(default="nats", description="nats or score")
    methods: list[str] | None = Field(default=None, description="of these; left out: of all")


class StudyFile(BaseModel):
    """What a study file says; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    scenario: str = Field(min_length=1, description="name of the catalogue, or a YAML file")
    methods: list[str] = Field(min_length=1, description="names, with settings behind colons")
    seeds: list[int] = Field(default=[0], min_length=1, description="of every run")
    orders: list[str | int] = Field(default=[], description="of the tasks; none: as they stand")
    backbone: str | None = Field(default=None, description="left out: the scenario's")
    data: str | None = Field(default=None, description="folder of the scenario's data")
    settings: dict[str, Any] = Field(default={}, description="of every run, by section")
    values: dict[str, list[Any]] = Field(default={}, description="by setting: what is tried")
    search: SearchSection | None = Field(default=None, description="settings to be chosen first")
    executor: str | None = Field(default=None, description="local or ray")
    address: str | None = Field(default=None, description="of a Ray cluster")
    jobs: int | None = Field(default=None, description="runs at once on this machine")
    cpus: int | None = Field(default=None, description="cores of every run on Ray")
    memory: str | None = Field(default=None, description="of every run on Ray, as 4GiB")
    gpus: float | None = Field(default=None, description="of every run on Ray")

    def grid(self) -> Grid:
        """Return its cells."""
        return Grid(
            methods=tuple(self.methods),
            seeds=tuple(self.seeds),
            orders=tuple(self.orders) or (None,),
            values=self.values,
        )


def is_study(name: str) -> bool:
    """Say whether this names a file that describes a study, not a scenario.

    Raises:
        InputError: a file that is no YAML.
    """
    path = Path(name)
    if name in catalogue() or path.suffix not in (".yaml", ".yml") or not path.is_file():
        return False
    values = _read(path)
    return isinstance(values, dict) and "methods" in values


def read_study(path: Path) -> StudyFile:
    """Read a study file; paths in it are relative to it.

    Raises:
        InputError: it cannot be read, or has problems; all are listed.
    """
    values = _read(path)
    if not isinstance(values, dict):
        raise InputError(f"{path}: a study is a mapping with scenario, methods, ...")
    try:
        found = StudyFile.model_validate(values)
    except ValidationError as error:
        allowed = ", ".join(StudyFile.model_fields)
        told = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InputError(
            "\n".join([f"{path} is no study; its keys are {allowed}:", *told])
        ) from error
    near = {
        key: str(path.parent / value)
        for key, value in (("scenario", found.scenario), ("data", found.data))
        if value is not None and (path.parent / value).exists()
    }
    return found.model_copy(update=near)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A study as somebody has asked for it, by a file or by options."""

    scenario: Scenario
    grid: Grid
    backbone: str | None
    settings: Mapping[str, Any]
    where: Where
    search: SearchSection | None = None


def ask(
    name: str,
    *,
    methods: str | None = None,
    seeds: str | None = None,
    order: Order = None,
    data: Path | None = None,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
    where: Mapping[str, Any] | None = None,
) -> Asked:
    """Return a study by the name of a scenario and options, or by a study file.

    What else is given stands above what a study file says, but for its cells: methods, seeds and
    orders are said in one place.

    Args:
        name: a scenario of the catalogue, its file, or that of a study.
        methods: comma-separated, see ``Grid.parse``.
        seeds: comma-separated; left out: 0.
        order: one order of the tasks.
        data: folder of the scenario's data.
        backbone: of every run.
        settings: of every run, by section.
        where: executor, address, jobs, cpus, memory and gpus, as ``Where.of`` takes them.

    Raises:
        InputError: a file that is neither, cells said twice or not at all.
    """
    if not is_study(name):
        scenario = load_scenario(name, order=order, data=data)
        grid = Grid.parse(methods or "", seeds or "0")
        return Asked(
            scenario=scenario,
            grid=grid,
            backbone=backbone,
            settings=settings or {},
            where=Where.of(where or {}),
        )
    twice = {"--methods": methods, "--seeds": seeds, "--order": order}
    given = [option for option, value in twice.items() if value is not None]
    if given:
        raise InputError(f"{name} says which runs there are; leave out {', '.join(given)}.")
    known = read_study(Path(name))
    combined = dict(known.settings)
    for section, own in (settings or {}).items():
        old = combined.get(section)
        if isinstance(own, Mapping) and isinstance(old, Mapping):
            combined[section] = {**old, **own}
        else:
            combined[section] = own
    return Asked(
        scenario=load_scenario(known.scenario, data=data or known.data),
        grid=known.grid(),
        backbone=backbone or known.backbone,
        settings=combined,
        where=Where.of(known.model_dump(include=set(PLACES)), where or {}),
        search=known.search,
    )


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"cannot read {path} as YAML: {error}") from error
