"""A grid of runs: methods × seeds on one scenario, every cell a run directory of its own.

A study that was interrupted goes on where it stopped, because its runs do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from continual.errors import InputError, unknown
from continual.records import RunRecord
from continual.runs.progress import Reporter
from continual.runs.settings import SECTIONS, parse_assignments, resolve
from continual.scenario import Scenario

ENGINES = ("local", "ray")
SETTING = re.compile(rf":(?=(?:{'|'.join(SECTIONS)})[.=])")


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of a study.

    Attributes:
        methods: names, each with its own settings behind colons: ``lora:train.lr=0.03``.
        seeds: of every run.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]

    @classmethod
    def parse(cls, methods: str, seeds: str) -> "Grid":
        """Read comma-separated lists.

        >>> Grid.parse("frozen,lora:train.lr=0.03", "0,1").methods
        ('frozen', 'lora:train.lr=0.03')

        Raises:
            InputError: an empty list, a name given twice, or a seed that is no number.
        """
        names = tuple(name.strip() for name in _apart(methods) if name.strip())
        numbers = [text.strip() for text in seeds.split(",") if text.strip()]
        wrong = [text for text in numbers if not text.isdecimal()]
        if wrong or not numbers:
            raise InputError(f"--seeds takes numbers from 0, as in 0,1,2; got {seeds!r}.")
        if not names:
            raise InputError("--methods takes at least one name; see `continual list methods`.")
        for what, given in (("--methods", names), ("--seeds", numbers)):
            twice = sorted({str(one) for one in given if list(given).count(one) > 1})
            if twice:
                raise InputError(f"{what} names {', '.join(twice)} more than once.")
        return cls(methods=names, seeds=tuple(int(text) for text in numbers))

    def cells(self) -> list[tuple[str, int]]:
        """Return every (method, seed), seeds inner."""
        return [(method, seed) for method in self.methods for seed in self.seeds]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One run of a study, as the arguments of :func:`continual.runs.run`.

    ``settings`` are those of the study with the method's own on top.
    """

    scenario: Scenario
    method: str
    seed: int
    out: Path
    backbone: str | None
    settings: Mapping[str, Any]


def run_study(
    scenario: Scenario,
    grid: Grid,
    *,
    out: Path,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
    engine: str = "local",
    jobs: int = 1,
    reporter: Reporter,
) -> list[RunRecord]:
    """Run every cell and return the records in the order of the grid.

    Every cell's settings are checked before the first one starts. ``method`` settings of the study
    must fit every method of the grid; those of one method stand behind its name. With several jobs
    every run has fewer threads, and sums round accordingly.

    Args:
        scenario: what every cell learns.
        grid: methods and seeds.
        out: the folder in which every cell gets a run directory.
        backbone: as for ``run``.
        settings: as for ``run``.
        engine: local or ray.
        jobs: runs at once on this machine.
        reporter: is told how they get on.

    Raises:
        InputError: something given cannot be used; nothing was written.
    """
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    if jobs < 1 or (jobs > 1 and engine == "ray"):
        raise InputError(
            f"--jobs is how many runs go on at once here, at least 1; got {jobs}. Ray decides for "
            "itself, so leave it out there."
        )
    cells = [
        _cell(scenario, variant, seed, out, backbone, settings or {})
        for variant, seed in grid.cells()
    ]
    _check(cells)
    if engine == "ray":
        from continual.studies.on_ray import run_on_ray

        return run_on_ray(cells, reporter)
    if jobs > 1 and len(cells) > 1:
        from continual.studies.local import run_in_processes

        return run_in_processes(cells, min(jobs, len(cells)), reporter)
    return run_here(cells, reporter)


def _check(cells: Sequence[Cell]) -> None:
    """Resolve every cell; two that would be the same run are one too many."""
    known: dict[str, Path] = {}
    for cell in cells:
        config, _ = resolve(
            cell.scenario,
            cell.method,
            backbone=cell.backbone,
            seed=cell.seed,
            settings=cell.settings,
        )
        text = config.model_dump_json()
        if text in known:
            raise InputError(
                f"{cell.out.name} and {known[text].name} are the same run; name one of them."
            )
        known[text] = cell.out


def _cell(
    scenario: Scenario,
    variant: str,
    seed: int,
    out: Path,
    backbone: str | None,
    settings: Mapping[str, Any],
) -> Cell:
    method, *own = SETTING.split(variant)
    combined = dict(settings)
    for section, values in parse_assignments(own).items():
        old = combined.get(section, {})
        combined[section] = {**old, **values} if isinstance(values, Mapping) else values
    return Cell(
        scenario=scenario,
        method=method,
        seed=seed,
        out=out / re.sub(r"[^\w.=+-]", "_", f"{'-'.join([method, *own])}-seed{seed}"),
        backbone=backbone,
        settings=combined,
    )


def _apart(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def run_here(cells: Sequence[Cell], reporter: Reporter) -> list[RunRecord]:
    """Run the cells one after another in this process."""
    return [run_cell(cell, reporter) for cell in cells]


def run_cell(cell: Cell, reporter: Reporter) -> RunRecord:
    """Run one cell."""
    from continual.runs.assemble import run

    return run(
        cell.scenario,
        cell.method,
        out=cell.out,
        backbone=cell.backbone,
        seed=cell.seed,
        settings=cell.settings,
        reporter=reporter,
    )
