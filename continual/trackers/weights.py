"""How far each adapted weight has moved, and where to: ‖ΔW‖ / ‖W‖ and intruder dimensions."""

import torch

from continual.adapters.adaptation import Adaptation
from continual.adapters.layer import weight_of
from continual.linalg import gram_norm, intruders
from continual.records.rows import ScoreRow

LOOKED_AT = 10  # leading singular vectors that may be intruders


def weight_rows(
    adaptation: Adaptation, after: int, step: int, *, with_intruders: bool
) -> list[ScoreRow]:
    """Return a row ``change_norm`` for every adapted weight, its layer in place of a task.

    Its value is ‖ΔW‖_F / ‖W‖_F, from the factors where there are any; ``n`` is m n.

    Args:
        adaptation: whose adapters are measured.
        after: the experience.
        step: its optimiser steps.
        with_intruders: also a row ``intruder_dimensions``: how many of the ten leading left
            singular vectors of W + ΔW resemble none of W. Two decompositions per weight.
    """
    rows = []
    for name, adapter in adaptation.adapters.items():
        weight = weight_of(name, adaptation.layers[name].base).float()
        factors = adapter.factors()
        change = adapter.delta_weight().detach() if factors is None else None
        norm = float(change.norm()) if change is not None else gram_norm(*(factors or ()))
        values = {"change_norm": norm / max(float(weight.norm()), torch.finfo(torch.float32).tiny)}
        if with_intruders:
            moved = weight + (adapter.delta_weight().detach() if change is None else change)
            count = min(LOOKED_AT, *weight.shape)
            values["intruder_dimensions"] = float(
                len(intruders(weight, moved, leading_vectors=count))
            )
        rows += [
            ScoreRow(
                experience=after,
                step=step,
                task=name,
                metric=metric,
                value=value,
                n=weight.numel(),
            )
            for metric, value in values.items()
        ]
    return rows
