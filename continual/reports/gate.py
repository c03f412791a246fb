"""A gate for pipelines: does a run keep what it must?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from continual.errors import InputError, unknown
from continual.metrics import METRICS, NotEvaluatedError
from continual.records import RunRecord


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """One line of the gate's answer.

    Attributes:
        name: what was asked.
        value: what the run has; NaN where it was not measured, which fails.
        limit: what was allowed.
        passed: whether it may pass.
    """

    name: str
    value: float
    limit: float
    passed: bool

    def __str__(self) -> str:
        """One line: pass or FAIL, the value and the limit."""
        sign = "≤" if self.name.startswith(("forgetting", "drift")) else "≥"
        value = "not measured" if math.isnan(self.value) else f"{self.value:.4f}"
        return f"{'pass' if self.passed else 'FAIL'}  {self.name} {value} ({sign} {self.limit:.4f})"


def check(
    record: RunRecord,
    *,
    max_forgetting: float | None = None,
    max_perplexity_ratio: float | None = None,
    min_accuracy: Mapping[str, float] | None = None,
    baseline: RunRecord | None = None,
    tolerance: float = 0.0,
) -> list[Criterion]:
    """Measure a run against limits, in the order of the arguments.

    Args:
        record: the run.
        max_forgetting: largest ``forgetting.chaudhry2018``.
        max_perplexity_ratio: largest ``drift.perplexity_ratio`` of any probe.
        min_accuracy: by task, the least score at the end; the key "average" is their mean.
        baseline: an accepted run: forgetting, ratios and every task's last score must be no worse.
        tolerance: by how much they may be worse than the baseline's.

    Raises:
        InputError: nothing to check, a task that the run does not have, a baseline of other tasks,
            or an unfinished run.
    """
    if not record.complete:
        raise InputError(f"{record.path} is not finished; run the same command again to finish it.")
    last = _last(record)
    found = []
    if max_forgetting is not None:
        found.append(_at_most("forgetting.chaudhry2018", _forgetting(record), max_forgetting))
    if max_perplexity_ratio is not None:
        ratios = _ratios(record)
        if not ratios:
            raise InputError(f"{record.path} has no probe, so it has no perplexity ratio.")
        found += [_at_most(name, ratio, max_perplexity_ratio) for name, ratio in ratios.items()]
    for task, limit in (min_accuracy or {}).items():
        if task != "average" and task not in last:
            raise unknown("task", task, [*last, "average"])
        value = float(np.mean(list(last.values()))) if task == "average" else float(last[task])
        found.append(_at_least(task, value, limit))
    if baseline is not None:
        found += _no_worse(record, baseline, last, tolerance)
    if not found:
        raise InputError("there is nothing to check; give a limit or --baseline.")
    return found


def _no_worse(
    record: RunRecord, baseline: RunRecord, last: Mapping[str, float], tolerance: float
) -> list[Criterion]:
    if baseline.tasks != record.tasks:
        raise InputError(
            f"{baseline.path} learned {list(baseline.tasks)} and {record.path} "
            f"{list(record.tasks)}; a baseline has the same tasks in the same order."
        )
    then = _last(baseline)
    found = []
    if len(record.tasks) > 1:
        limit = _forgetting(baseline) + tolerance
        found.append(_at_most("forgetting.chaudhry2018", _forgetting(record), limit))
    ratios = _ratios(baseline)
    found += [
        _at_most(name, ratio, ratios.get(name, math.nan) + tolerance)
        for name, ratio in _ratios(record).items()
    ]
    found += [_at_least(task, float(last[task]), float(then[task]) - tolerance) for task in last]
    return found


def _last(record: RunRecord) -> dict[str, float]:
    """Return the score at the end of every task that has a test."""
    scores = dict(zip(record.tasks, record.matrix()[-1], strict=True))
    return {task: scores[task] for task in record.tested}


def _forgetting(record: RunRecord) -> float:
    try:
        return METRICS["forgetting.chaudhry2018"].function(record.matrix())
    except NotEvaluatedError:
        return math.nan


def _ratios(record: RunRecord) -> dict[str, float]:
    found = {}
    for probe, nats in record.probes().items():
        try:
            ratio = METRICS["drift.perplexity_ratio"].function(nats)
        except NotEvaluatedError:
            ratio = math.nan
        found[f"drift.perplexity_ratio {probe}"] = ratio
    return found


def _at_most(name: str, value: float, limit: float) -> Criterion:
    return Criterion(name=name, value=value, limit=limit, passed=value <= limit)


def _at_least(name: str, value: float, limit: float) -> Criterion:
    return Criterion(name=name, value=value, limit=limit, passed=value >= limit)
