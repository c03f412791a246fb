"""What a report does not know, said so that silence is not taken for a zero."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from continual.records import RunRecord
from continual.reports.costs import COSTS, costs
from continual.reports.groups import Group


def unmeasured(group: Group) -> tuple[str, ...]:
    """Return one sentence for everything that was not measured, with how to measure it."""
    found = [_scores(group), _sampled(group), _drift(group), _gap(group)]
    found += [_joint(group), _intruders(group), _costs(group), _examples(group)]
    found.append(
        "Anything outside these test splits and probes: other abilities of the backbone, safety, "
        "calibration and other prompts were not looked at."
    )
    return tuple(sentence for sentence in found if sentence)


def _scores(group: Group) -> str:
    """Say how many entries of R are missing although their run came that far."""
    missing, count = 0, 0
    for record in group.records:
        R = record.matrix()
        reached = R[~np.isnan(R).all(axis=1)]
        missing, count = missing + int(np.isnan(reached).sum()), count + reached.size
    if not missing:
        return ""
    reason = (
        "tasks whose classes had not arrived"
        if group.setting == "class-incremental"
        else "evaluation.policy=full and evaluation.every=1 measure them all"
    )
    return f"{missing:,} of {count:,} entries of R ({reason})."


def _sampled(group: Group) -> str:
    samples = [_evaluation(record).get("sample") or 0 for record in group.records]
    if not any(samples):
        return ""
    return (
        f"Test examples beyond the first {max(samples)} of each task: scores are of a sample "
        "(evaluation.sample)."
    )


def _drift(group: Group) -> str:
    if not group.records[0].probe_names:
        return "Perplexity drift: the scenario names no probe."
    if not any(record.probes() and _known(record) for record in group.records):
        return "Perplexity drift: this backbone is no language model."
    return ""


def _known(record: RunRecord) -> bool:
    return any(not np.isnan(values[0]) for values in record.probes().values())


def _gap(group: Group) -> str:
    if any(np.isfinite(record.gaps()).any() for record in group.records):
        return ""
    return (
        "The stability gap: nothing was scored within an experience (evaluation.steps does that)."
    )


def _joint(group: Group) -> str:
    if group.setting == "class-incremental" or "joint" in {runs.method for runs in group.methods}:
        return ""
    return "Intransigence: there is no joint run to compare with."


def _intruders(group: Group) -> str:
    if any(row.metric == "intruder_dimensions" for r in group.records for row in r.score_rows):
        return ""
    return "Intruder dimensions of the weights (set evaluation.intruders=true to count them)."


def _costs(group: Group) -> str:
    known = {id for record in group.records for id in costs(record)}
    names = [title.replace("\n", " ") for id, title in COSTS.items() if id not in known]
    if not names:
        return ""
    hint = " (the package codecarbon estimates it)" if "energy_kwh" not in known else ""
    return f"Cost: {', '.join(names)}{hint}."


def _examples(group: Group) -> str:
    without = [str(r.path) for r in group.records if not (r.path / "examples.parquet").is_file()]
    return f"Single examples of {', '.join(without)}." if without else ""


def _evaluation(record: RunRecord) -> Mapping[str, Any]:
    found = record.config.get("evaluation")
    return found if isinstance(found, Mapping) else {}
