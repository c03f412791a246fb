"""Collisions: how much the change of the task just learned gets in the way of earlier ones.

Numbers of a whole model are means over its adapted weights, weighted by size. Only methods that
keep a change for every task have any; where S-LoRA folded a direction, layers no longer agree on
which change is whose, so there are none either.
"""

from torch import Tensor

from continual.adapters.adaptation import Adaptation
from continual.metrics.collision import (
    Factors,
    awom,
    collision_rate,
    frobenius_cosine,
    overlap,
    soft_collision,
)
from continual.records.rows import ScoreRow
from continual.scenario import Scenario

MEASURES = {
    "collision_rate": collision_rate,  # at a hundredth of the largest entry
    "soft_collision": soft_collision,
    "overlap": overlap,
    "awom": awom,
    "frobenius_cosine": frobenius_cosine,
}


def collisions(scenario: Scenario, adaptation: Adaptation, after: int, step: int) -> list[ScoreRow]:
    """Return one row per earlier task and measure; its ``n`` is how many numbers are adapted."""
    changes = {name: _arrays(one.changes()) for name, one in adaptation.adapters.items()}
    if after < 1 or not changes or any(len(own) != after + 1 for own in changes.values()):
        return []
    sizes = {name: own[0][0].shape[0] * own[0][1].shape[1] for name, own in changes.items()}
    total = sum(sizes.values())
    rows = []
    for j in range(after):
        for metric, measure in MEASURES.items():
            value = sum(
                sizes[name] / total * measure(own[j], own[after]) for name, own in changes.items()
            )
            rows.append(
                ScoreRow(
                    experience=after,
                    step=step,
                    task=scenario[j].task.name,
                    metric=metric,
                    value=value,
                    n=total,
                )
            )
    return rows


def _arrays(changes: list[tuple[Tensor, Tensor]]) -> list[Factors]:
    return [(B.cpu().numpy(), A.cpu().numpy()) for B, A in changes]
