"""What a report does not know, said so that silence is not taken for a zero."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from continual.records import RunRecord
from continual.reports.costs import COSTS, costs
from continual.reports.groups import Group


def unmeasured(group: Group) -> tuple[str, ...]:
    """Return one sentence for everything that was not measured, with how to measure it."""
    found = [_scores(group), _tests(group), _sampled(group), _drift(group), _gap(group)]
    found += [_joint(group), _intruders(group), _costs(group), _examples(group)]
    found.append(
        "Anything outside these test splits and probes: other abilities of the backbone, safety, "
        "calibration and other prompts were not looked at."
    )
    return tuple(sentence for sentence in found if sentence)


def _scores(group: Group) -> str:
    """Say how many entries of R are missing although their run came that far, and why."""
    future, past, count = 0, 0, 0
    for record in group.records:
        R = record.matrix()
        reached = np.isfinite(R).any(axis=1)
        tested = [task in record.tested for task in record.tasks]
        missing = np.isnan(R) & np.expand_dims(reached, 1) & np.array(tested)
        ahead = np.triu(np.ones_like(missing), 1).astype(bool)
        future, past = future + int((missing & ahead).sum()), past + int((missing & ~ahead).sum())
        count += int(reached.sum()) * R.shape[1]
    parts = []
    if future:
        reason = (
            "tasks whose classes had not arrived"
            if group.setting == "class-incremental"
            else "tasks not yet learned; evaluation.policy=full scores them"
        )
        parts.append(f"{future:,} of {count:,} entries of R above the diagonal ({reason})")
    if past:
        parts.append(
            f"{past:,} of {count:,} entries of R of tasks already learned (evaluation.every=1 "
            "scores them all)"
        )
    return f"{'; '.join(parts)}." if parts else ""


def _tests(group: Group) -> str:
    first = group.records[0]
    names = [task for task in first.tasks if task not in first.tested]
    return f"How well {', '.join(names)} was learned: it has no test." if names else ""


def _sampled(group: Group) -> str:
    samples = sorted({int(_evaluation(record).get("sample") or 0) for record in group.records})
    if not any(samples):
        return ""
    sizes = ", ".join(str(size) for size in samples if size)
    return (
        f"All test examples: scores are of a sample of at most {sizes} per task, chosen by their "
        "ids (evaluation.sample)."
    )


def _drift(group: Group) -> str:
    begun = [record for record in group.records if record.score_rows]
    if not any(record.probe_names for record in group.records):
        return "Perplexity drift: the scenario names no probe."
    without = [r for r in begun if not any(np.isfinite(v[0]) for v in r.probes().values())]
    return f"Perplexity drift of {_names(without)}: no language model." if without else ""


def _gap(group: Group) -> str:
    without = [record for record in group.records if not np.isfinite(record.gaps()).any()]
    if len(group.tasks) < 2 or not without:
        return ""
    return (
        f"The stability gap of {_names(without)}: nothing was scored within an experience "
        "(evaluation.steps does that)."
    )


def _joint(group: Group) -> str:
    joint = [r for runs in group.methods if runs.method == "joint" for r in runs.records]
    if group.setting == "class-incremental":
        return "Intransigence: joint training's scores are among all classes, those here are not."
    if any(record.complete for record in joint):
        return ""
    return "Intransigence: there is no finished joint run to compare with."


def _intruders(group: Group) -> str:
    if any(row.metric == "intruder_dimensions" for r in group.records for row in r.score_rows):
        return ""
    return "Intruder dimensions of the weights (set evaluation.intruders=true to count them)."


def _costs(group: Group) -> str:
    known = [costs(record) for record in group.records]
    missing = []
    for id, title in COSTS.items():
        without = [r for r, own in zip(group.records, known, strict=True) if id not in own]
        if id == "tokens_per_second":  # who learns nothing has no pace
            without = [r for r in without if r.method != "frozen"]
        if without:
            missing.append(f"{title.partition(chr(10))[0]} of {_names(without)}")
    if not missing:
        return ""
    hint = " (the package codecarbon estimates energy)" if "energy" in missing[-1] else ""
    return f"Cost: {'; '.join(missing)}{hint}."


def _names(records: Sequence[RunRecord]) -> str:
    """Return the methods of some runs."""
    return ", ".join(dict.fromkeys(record.method for record in records))


def _examples(group: Group) -> str:
    without = [str(r.path) for r in group.records if not (r.path / "examples.parquet").is_file()]
    return f"Single examples of {', '.join(without)}." if without else ""


def _evaluation(record: RunRecord) -> Mapping[str, Any]:
    found = record.config.get("evaluation")
    return found if isinstance(found, Mapping) else {}
