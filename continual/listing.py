"""Plain values for the command line: what has a name, what a file lacks, what a run scored."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from continual.errors import InputError

if TYPE_CHECKING:
    from continual.interop.matrices import Foreign
    from continual.records import RunRecord


# The columns that a terminal has room for; --json prints everything.
SHOWN = {
    "scenarios": ("name", "setting", "length", "data", "orders"),
    "methods": ("name", "paper", "learns", "trained", "needs_task", "export"),
    "metrics": ("name", "formula", "unit"),
    "backbones": ("name", "family", "parameters"),
    "peft": ("name", "type", "mode", "learning_rate", "runs"),
}
NOTES = {  # what is printed below a table
    "scenarios": "Data of the hub is downloaded when it is first read; `continual data NAME` says "
    "what, writes it to a folder, and how to give it as files.",
    "methods": "Every tuner of PEFT is a method too, as --method peft:lora; see `continual list "
    "peft`.",
    "peft": "--set method.FIELD=VALUE takes the fields of PEFT's configuration; --json lists them, "
    "and why what does not run does not.",
}


def listing(kind: str, backbone: str | None = None) -> list[dict[str, Any]]:
    """Return the rows of ``continual list KIND``, each with at least a name.

    Args:
        kind: a key of ``SHOWN``.
        backbone: count the trained numbers of methods on this one; left out: their formulas.

    Raises:
        InputError: a backbone for something else than methods, or one that cannot be found.
    """
    if backbone is not None and kind != "methods":
        raise InputError(f"--backbone goes with `continual list methods`, not with {kind}.")
    rows = {
        "scenarios": _scenarios,
        "methods": lambda: _methods(backbone),
        "metrics": _metrics,
        "backbones": _backbones,
        "peft": _tuners,
    }
    return rows[kind]()


def file_problems(path: Path) -> list[str]:
    """Return every problem of a scenario file, recommended settings included, one per line.

    Raises:
        InputError: there is no such file.
    """
    from continual.runs.settings import defaults_problems
    from continual.scenario import validate_scenario
    from continual.scenario.yaml_file import read_yaml

    if not path.is_file():
        raise InputError(f"there is no file {path}; give the path of a scenario file (YAML).")
    problems = [str(problem) for problem in validate_scenario(path)]
    raw, _ = read_yaml(path.read_bytes().decode(errors="replace"))  # None: said already
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


def scores_of_matrix(found: "Foreign") -> dict[str, Any]:
    """Return R from elsewhere and every score by its definition id, as JSON has them."""
    from continual.metrics import scores

    b = None if found.b is None else [_finite(cell) for cell in found.b.tolist()]
    return {
        "tasks": list(found.tasks),
        "matrix": [[_finite(cell) for cell in row] for row in found.R.tolist()],
        "baseline": b,
        "scores": scores(found.R, found.b),
    }


def count_of(
    method: str, model: str, targets: Sequence[str], settings: Sequence[str], task: int
) -> dict[str, Any]:
    """Return how many numbers a method trains on a model, from its configuration alone.

    Args:
        method: its name.
        model: an embedded backbone, a directory with a config.json, or a hub id.
        targets: name endings or one of the words that ``attach`` takes; empty for the default.
        settings: ``NAME=VALUE`` of the method, with or without ``method.`` in front.
        task: which task of the sequence, from 0.

    Raises:
        InputError: something given cannot be used.
    """
    from continual.adapters import configure, count_trained
    from continual.backbone import skeleton
    from continual.interop.tuners.names import is_tuner
    from continual.runs.settings import parse_assignments

    if is_tuner(method):
        raise InputError(
            f"{method} has no closed formula here, so it cannot be counted without weights; a run "
            "of it records how many numbers learn (events.jsonl, and the costs of a report)."
        )
    named = [text if text.startswith("method.") else f"method.{text}" for text in settings]
    config = configure(method, parse_assignments(named).get("method", {}))
    network, model_type = skeleton(model)
    words = targets[0] if len(targets) == 1 else list(targets)
    found = count_trained(
        network, method, config, targets=words or "default", model_type=model_type, task=task
    )
    return {"method": found.method, "backbone": model, "task": task} | {
        "trained": found.trained,
        "layers": found.layers,
        "model": found.model,
        "share": found.trained / found.model,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scenarios() -> list[dict[str, Any]]:
    from continual.scenario import HubSource, LocalSource, catalogue, load_scenario

    rows = []
    for name in catalogue():
        scenario = load_scenario(name)
        sources = [task.train for task in scenario.tasks]
        sources += [probe.source for probe in scenario.probes]
        given = any(isinstance(source, LocalSource) for source in sources)
        hub = [source.hub for source in sources if isinstance(source, HubSource)]
        rows.append(
            {
                "name": name,
                "setting": scenario.setting,
                "length": f"{len(scenario)} tasks",
                "tasks": [task.name for task in scenario.tasks],
                "data": "hub" if hub else "--data" if given else "embedded",
                "hub": sorted(set(hub)),
                "backbone": scenario.defaults.get("backbone"),
                "orders": sorted(scenario.orders),
                "kinds": sorted({task.kind for task in scenario.tasks}),
                "probes": [probe.name for probe in scenario.probes],
                "description": scenario.description,
            }
        )
    return rows


def _methods(backbone: str | None) -> list[dict[str, Any]]:
    from continual.adapters import METHODS, count_trained
    from continual.backbone import skeleton

    model, model_type = skeleton(backbone) if backbone is not None else (None, "")

    def trained(name: str, formula: str) -> str | int:
        if model is None:
            return formula
        return count_trained(model, name, model_type=model_type).trained

    return [
        {
            "name": method.name,
            "title": method.title,
            "summary": method.summary,
            "paper": method.paper,
            "learns": method.learns,
            "trained": trained(method.name, method.trained_numbers),
            "needs_task": method.adapter is not None and method.adapter.needs_task(method.config()),
            "export": "LoRA or merged" if method.lora_export else "merged",
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


def _tuners() -> list[dict[str, Any]]:
    from continual.interop.tuners.names import PREFIX, known_tuners
    from continual.interop.tuners.settings import defaults

    return [
        {
            "name": f"{PREFIX}{known.name}",
            "type": known.tuner,
            "mode": known.mode,
            "learning_rate": known.learning_rate,
            "runs": not known.why_not,
            "why_not": known.why_not,
            "fields": {} if known.why_not else defaults(known),
        }
        for known in known_tuners().values()
    ]
