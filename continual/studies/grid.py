"""A grid of runs: methods × values × orders × seeds, every cell a run directory of its own."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.records.directory import find_run
from continual.runs.settings import SECTIONS, parse_assignments, resolve
from continual.scenario import Scenario
from continual.studies.cell import Cell

SETTING = re.compile(rf":(?=(?:{'|'.join(SECTIONS)})[.=])")
Order = str | int | None  # a name of the scenario's, a number to shuffle by, or as it stands


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The cells of a study.

    Attributes:
        methods: names, each with its own settings behind colons: ``lora:train.lr=0.03``.
        seeds: of every run.
        orders: of the tasks.
        values: settings that every method is tried with, by name: ``{"train.lr": (1e-3, 1e-2)}``.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    orders: tuple[Order, ...] = (None,)
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def parse(cls, methods: str, seeds: str) -> "Grid":
        """Read comma-separated lists.

        >>> Grid.parse("frozen,lora:train.lr=0.03", "0,1").methods
        ('frozen', 'lora:train.lr=0.03')

        Raises:
            InputError: an empty list, a name given twice, or a seed that is no number.
        """
        names = tuple(name.strip() for name in apart(methods) if name.strip())
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

    def variants(self) -> list[str]:
        """Return every method with every combination of values behind it.

        >>> Grid(methods=("lora",), seeds=(0,), values={"train.lr": (0.1, 1)}).variants()
        ['lora:train.lr=0.1', 'lora:train.lr=1']
        """
        axes = [[f":{name}={json.dumps(v)}" for v in some] for name, some in self.values.items()]
        return [f"{method}{''.join(own)}" for method in self.methods for own in product(*axes)]

    def cells(self) -> list[tuple[str, Order, int]]:
        """Return every (variant, order, seed), seeds inner."""
        return list(product(self.variants(), self.orders, self.seeds))


def grid_cells(
    scenario: Scenario,
    grid: Grid,
    *,
    out: Path,
    backbone: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """Return the cells of a grid, every one of them checked; arguments as for ``run_study``.

    Raises:
        InputError: a cell that cannot be, an order that the scenario has not, two cells that would
            be the same run, or something else at a cell's directory.
    """
    cells = [
        _cell(ordered(scenario, order), variant, order, seed, out, backbone, settings or {})
        for variant, order, seed in grid.cells()
    ]
    check_cells(cells)
    return cells


def check_cells(cells: Sequence[Cell]) -> None:
    """Raise ``InputError`` for what ``grid_cells`` does not allow."""
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
        find_run(cell.out, config.model_dump(mode="json"), free=("data",))


def ordered(scenario: Scenario, order: Order) -> Scenario:
    """Return a scenario with its tasks in an order, as a grid names it."""
    if order is None:
        return scenario
    return scenario.shuffled(order) if isinstance(order, int) else scenario.permuted(order)


def apart_from(variant: str, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the method of a variant, and the settings with the variant's own on top.

    >>> apart_from("lora:train.lr=0.03", {"train": {"lr": 0.1, "epochs": 2}})
    ('lora', {'train': {'lr': 0.03, 'epochs': 2}})
    """
    method, *own = SETTING.split(variant)
    combined = dict(settings)
    for section, values in parse_assignments(own).items():
        old = combined.get(section, {})
        combined[section] = {**old, **values} if isinstance(values, Mapping) else values
    return method, combined


def _cell(
    scenario: Scenario,
    variant: str,
    order: Order,
    seed: int,
    out: Path,
    backbone: str | None,
    settings: Mapping[str, Any],
) -> Cell:
    method, combined = apart_from(variant, settings)
    parts = [*SETTING.split(variant), *([] if order is None else [f"order={order}"])]
    parts.append(f"seed{seed}")
    return Cell(
        scenario=scenario,
        method=method,
        seed=seed,
        out=out / re.sub(r"[^\w.=+-]", "_", "-".join(parts)),
        backbone=backbone,
        settings=combined,
    )


def apart(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
