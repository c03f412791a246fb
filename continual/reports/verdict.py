"""What a report says in words: a sentence per method, and what to be careful about."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from continual.metrics import Estimate, detectable_effect
from continual.records import RunRecord, flatten
from continual.reports.against import baseline_of
from continual.reports.comparison import Estimates
from continual.reports.groups import Group, MethodRuns
from continual.reports.tables import CONTROLS, forked

LEAST_SEEDS = 3
ENOUGH = 5  # below, a report says what so few seeds can show
FINGERPRINTS = ("fingerprints", "data_fingerprints", "data", "probes")  # of environment.json
NOTHING = 0.005  # a score difference that two printed digits do not show


def verdicts(group: Group, found: Estimates) -> tuple[str, ...]:
    """Return one sentence per method in plain language."""
    return tuple(_verdict(runs, found[runs.label]) for runs in group.methods)


def warnings(group: Group, baseline: str | None = None) -> tuple[str, ...]:
    """Return everything that weakens the comparison, in words; empty where nothing does."""
    found = [_missing_controls(group), *_few_seeds(group), _weak(group, baseline)]
    found += [_repeated_seeds(runs) for runs in group.methods]
    found += [_learned_nothing(runs) for runs in group.methods]
    found += [_forked(record) for record in group.records]
    found += [_unfinished(group), _no_majority(group), _other_data(group)]
    return tuple(sentence for sentence in found if sentence)


def _forked(record: RunRecord) -> str:
    """Say that a run did not learn its first tasks itself."""
    told = forked(record)
    return f"{record.method}, seed {record.seed}, is{told[1:]}." if told else ""


def fingerprints(group: Group) -> dict[str, set[str]]:
    """Return the fingerprints of data and weights that the runs wrote down, by name."""
    found: dict[str, set[str]] = {}
    for record in group.records:
        for key in FINGERPRINTS:
            for name, value in flatten(record.environment.get(key) or {}, "").items():
                found.setdefault(name, set()).add(value)
        backbone = record.environment.get("backbone")
        if isinstance(backbone, Mapping) and "fingerprint" in backbone:
            name = f"weights of {record.backbone}"
            found.setdefault(name, set()).add(str(backbone["fingerprint"]))
    return found


def _verdict(runs: MethodRuns, found: dict[str, Estimate]) -> str:
    learned, kept = found.get("learning_accuracy"), found.get("average_accuracy")
    if kept is None:
        return _untested(runs, found)
    if learned is None:
        return f"{runs.label} learned all tasks at once and reached {kept.mean:.2f} on average."
    before = _before(runs)
    if learned.mean - before < 2 * NOTHING:
        sentence = (
            f"{runs.label} learned nothing: {learned.mean:.2f} on average after learning, "
            f"{before:.2f} before any training, {kept.mean:.2f} at the end"
        )
    else:
        sentence = (
            f"{runs.label} learned {learned.mean:.2f} on average while it was learning and kept "
            f"{kept.mean:.2f}"
        )
    forgot = found.get("forgetting.chaudhry2018")
    if forgot is not None:
        sentence += f": {_forgot(forgot.mean)} (forgetting.chaudhry2018)"
    return f"{'; '.join([sentence, *_drifts(found)])}."


def _untested(runs: MethodRuns, found: dict[str, Estimate]) -> str:
    """Say what can be said without scores of all tasks: not finished, or learned without a test."""
    forgot = found.get("forgetting.chaudhry2018")
    first = runs.records[0]
    if forgot is None or first.tested == first.tasks:
        return f"{runs.label} has no finished run yet: nothing can be said about it."
    names = ", ".join(name for name in first.tasks if name not in first.tested)
    sentence = f"{runs.label} learned {names}, which has no test here: {_forgot(forgot.mean)}"
    return f"{'; '.join([f'{sentence} (forgetting.chaudhry2018)', *_drifts(found)])}."


def _drifts(found: dict[str, Estimate]) -> list[str]:
    return [
        f"text of the probe {id.partition(' ')[2]} became {_change(value.mean)}"
        for id, value in found.items()
        if id.startswith("drift.perplexity_ratio ")
    ]


def _before(runs: MethodRuns) -> float:
    """Return the mean score before any training; NaN, below which nothing is, where not known."""
    return float(np.mean([record.baseline() for record in runs.records]))


def _forgot(value: float) -> str:
    if abs(value) < NOTHING:
        return "it forgot nothing that two digits show"
    return f"it forgot {value:.2f}" if value > 0 else f"earlier tasks gained {-value:.2f}"


def _change(ratio: float) -> str:
    percent = 100 * (ratio - 1)
    if abs(percent) < 0.05:
        return "neither harder nor easier for it"
    if percent < 0:
        return f"{-percent:.1f} % less perplexing to it"
    return (
        f"{percent:.1f} % more perplexing to it"
        if percent < 100
        else f"{ratio:.1f} times as perplexing to it"
    )


def _missing_controls(group: Group) -> str:
    present = {runs.method for runs in group.methods}
    # frozen and head-only ask the same question, with and without heads
    missing = [name for name in CONTROLS if name not in present]
    if {"frozen", "head-only"} & present:
        missing = [name for name in missing if name not in ("frozen", "head-only")]
    if not missing:
        return ""
    return (
        f"Controls are missing: {', '.join(missing)}. Without them it cannot be told whether a "
        "method is good or the tasks are easy."
    )


def _few_seeds(group: Group) -> list[str]:
    """Return one sentence for all methods with equally few seeds."""
    few: dict[int, list[str]] = {}
    for runs in group.methods:
        few.setdefault(len({record.seed for record in runs.records}), []).append(runs.label)
    return [
        f"{', '.join(labels)} ran with only {'one seed' if seeds == 1 else f'{seeds} seeds'}: "
        "differences may be chance, and no interval is given. Run at least "
        f"{LEAST_SEEDS}."
        for seeds, labels in sorted(few.items())
        if seeds < LEAST_SEEDS
    ]


def _weak(group: Group, baseline: str | None) -> str:
    """Say what so few pairs of runs can show, for the comparison that has the fewest."""
    base = baseline_of(group, baseline)
    if base is None:
        return ""
    theirs = {record.seed for record in base.records}
    counts = [
        len(theirs & {record.seed for record in runs.records})
        for runs in group.methods
        if runs is not base
    ]
    few = sorted({n for n in counts if 2 <= n < ENOUGH})
    if not few:
        return ""
    n = few[0]
    least = f"{2.0 ** (1 - n):.3g}"
    return (
        f"With {n} seeds in common the exact Wilcoxon test cannot give p below {least}, and even a "
        f"paired t-test finds only differences of {detectable_effect(n):.1f} standard deviations "
        "of the paired differences or more in 8 of 10 studies: smaller ones are not excluded by "
        "'not distinguishable'."
    )


def _repeated_seeds(runs: MethodRuns) -> str:
    counts = Counter(record.seed for record in runs.records)
    twice = [str(seed) for seed, count in counts.items() if count > 1]
    if not twice:
        return ""
    return (
        f"{runs.label} is given more than once with seed {', '.join(twice)}: these runs are not "
        "independent and make the interval too narrow. Report each seed once."
    )


def _learned_nothing(runs: MethodRuns) -> str:
    """Say where a score just after learning is no better than the commonest label's."""
    diagonals = np.array([record.matrix().diagonal() for record in runs.records])
    majority = np.array([record.majority() for record in runs.records])
    margin = (diagonals - majority).mean(axis=0)  # NaN, so not counted, where a run lacks one
    tasks = runs.records[0].tasks
    names = [task for task, value in zip(tasks, margin, strict=True) if value < NOTHING]
    if not names or runs.method == "frozen":  # which is there to learn nothing
        return ""
    return (
        f"{runs.label} was no better than always saying the commonest label when it had just "
        f"learned {', '.join(names)}: what was not learned cannot be forgotten."
    )


def _unfinished(group: Group) -> str:
    names = [str(record.path) for record in group.records if not record.complete]
    if not names:
        return ""
    return f"Not finished, so counted only where it has numbers: {', '.join(names)}."


def _no_majority(group: Group) -> str:
    if any(not math.isnan(value) for record in group.records for value in record.majority()):
        return ""
    return "No run recorded what always saying the commonest label would score."


def _other_data(group: Group) -> str:
    differing = [name for name, values in fingerprints(group).items() if len(values) > 1]
    if not differing:
        return ""
    return (
        f"The runs did not use the same data or weights: fingerprints differ for "
        f"{', '.join(differing)}. Their numbers cannot be compared."
    )
