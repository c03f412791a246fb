"""Plain values for the command line: what has a name, what a file lacks, what a run scored."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from continual.errors import InputError

if TYPE_CHECKING:
    from continual.records import RunRecord


# The columns that a terminal has room for; --json prints everything.
SHOWN = {
    "scenarios": ("name", "setting", "tasks", "probes"),
    "methods": ("name", "summary", "paper", "trained_numbers"),
    "metrics": ("name", "formula", "unit"),
    "backbones": ("name", "family", "parameters"),
}


def listing(kind: str) -> list[dict[str, Any]]:
    """Return the rows of ``continual list KIND``, each with at least a name."""
    rows = {
        "scenarios": _scenarios,
        "methods": _methods,
        "metrics": _metrics,
        "backbones": _backbones,
    }
    return rows[kind]()


def file_problems(path: Path) -> list[str]:
    """Return every problem of a scenario file, recommended settings included, one per line.

    Raises:
        InputError: there is no such file.
    """
    from continual.runs.settings import defaults_problems
    from continual.scenario import validate_scenario

    if not path.is_file():
        raise InputError(f"there is no file {path}; give the path of a scenario file (YAML).")
    problems = [str(problem) for problem in validate_scenario(path)]
    try:
        raw = yaml.safe_load(path.read_text())
    except yaml.YAMLError:
        return problems  # the first problem says so already
    if isinstance(raw, dict) and isinstance(raw.get("defaults"), dict):
        problems += defaults_problems(raw["defaults"])
    return problems


def scores_of(record: "RunRecord") -> dict[str, Any]:
    """Return R, every score by its definition id and the probes of a run, as JSON has them.

    ``matrix`` is a list of rows with None where a task was not evaluated; ``probes`` maps a name to
    nats per token before any training and after each experience.
    """
    from continual.metrics import scores

    matrix = record.matrix()
    return {
        "tasks": list(record.tasks),
        "matrix": [[_finite(cell) for cell in row] for row in matrix.tolist()],
        "baseline": [_finite(cell) for cell in record.baseline().tolist()],
        "majority": [_finite(cell) for cell in record.majority().tolist()],
        "scores": scores(matrix, record.baseline()),
        "probes": {name: [_finite(v) for v in values] for name, values in record.probes().items()},
        "complete": record.complete,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scenarios() -> list[dict[str, Any]]:
    from continual.scenario import catalogue, load_scenario

    rows = []
    for name in catalogue():
        scenario = load_scenario(name)
        rows.append(
            {
                "name": name,
                "setting": scenario.setting,
                "tasks": [task.name for task in scenario.tasks],
                "kinds": sorted({task.kind for task in scenario.tasks}),
                "probes": [probe.name for probe in scenario.probes],
                "description": scenario.description,
            }
        )
    return rows


def _methods() -> list[dict[str, Any]]:
    from continual.adapters import METHODS

    return [
        {
            "name": method.name,
            "title": method.title,
            "summary": method.summary,
            "paper": method.paper,
            "trained_numbers": method.trained_numbers,
            "control": method.control,
            "lora_export": method.lora_export,
        }
        for method in METHODS.values()
    ]


def _metrics() -> list[dict[str, Any]]:
    from continual.metrics import METRICS

    return [
        {
            "name": metric.id,
            "title": metric.title,
            "formula": metric.formula,
            "source": metric.source,
            "unit": metric.unit,
            "higher_is_better": metric.higher_is_better,
        }
        for metric in METRICS.values()
    ]


def _backbones() -> list[dict[str, Any]]:
    from continual.backbone import backbones

    return backbones()
