"""Our scores against Avalanche's own metric classes, where the definitions agree."""

import numpy as np
import pytest

from continual._torchvision import ensure_torchvision
from continual.metrics import transfer as t

R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])


@pytest.mark.slow
def test_first_last_is_avalanches_forgetting_and_gem_its_bwt():
    """Fed the same scores, Avalanche's classes give the same two numbers."""
    ensure_torchvision()
    from avalanche.evaluation.metrics import BWT, Forgetting

    forgetting, bwt = Forgetting(), BWT()
    for i in range(3):
        forgetting.update(i, R[i, i], initial=True)
        bwt.update(i, R[i, i], initial=True)
    for j in range(2):
        forgetting.update(j, R[2, j])
        bwt.update(j, R[2, j])
    lost = [forgetting.result_key(j) for j in range(2)]
    gained = [bwt.result_key(j) for j in range(2)]

    assert np.mean(lost) == pytest.approx(t.forgetting_first_last(R))
    assert np.mean(gained) == pytest.approx(t.bwt_gem2017(R))
