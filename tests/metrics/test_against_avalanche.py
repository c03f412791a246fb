"""The worked matrix through Avalanche's own metric classes.

Avalanche knows the score of a task when it was first learned and its last; every definition of ours
is that difference over other pairs of rows, so each can be put together from Avalanche's answers.
"""

from itertools import combinations

import numpy as np
import pytest

from continual._torchvision import ensure_torchvision
from continual.metrics import scores

R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
T = len(R)
LAST = T - 1


def avalanche(kind, j, first, last):
    """What Avalanche says of task j between two rows of R."""
    ensure_torchvision()
    from avalanche.evaluation.metrics import BWT, Forgetting

    metric = {"forgetting": Forgetting, "bwt": BWT}[kind]()
    metric.update(j, R[first, j], initial=True)
    metric.update(j, R[last, j])
    return metric.result_key(j)


def forgetting(first_rows):
    """The mean over earlier tasks of the most that Avalanche finds lost since one of the rows."""
    lost = [max(avalanche("forgetting", j, i, LAST) for i in first_rows(j)) for j in range(LAST)]
    return np.mean(lost)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id", "value", "theirs"),
    [
        ("forgetting.first_last", 0.075, lambda: forgetting(lambda j: [j])),
        ("forgetting.chaudhry2018", 0.125, lambda: forgetting(lambda j: range(j, LAST))),
        ("forgetting.clamped", 0.150, lambda: forgetting(lambda j: range(T))),
        (
            "bwt.gem2017",
            -0.075,
            lambda: np.mean([avalanche("bwt", j, j, LAST) for j in range(LAST)]),
        ),
        (
            "bwt.all_pairs",
            -0.0167,
            lambda: np.mean([avalanche("bwt", j, j, i) for j, i in combinations(range(T), 2)]),
        ),
    ],
)
def test_the_worked_matrix(id, value, theirs):
    """0.125 / 0.075 / 0.150 and -0.075 / -0.0167, by us and from Avalanche's answers."""
    ours = scores(R, np.zeros(T))[id]

    assert ours == pytest.approx(value, abs=5e-5)
    assert theirs() == pytest.approx(ours, abs=1e-12)
