"""The page on metrics says what the registry says."""

import re
from pathlib import Path

import numpy as np
import pytest

from continual.metrics import METRICS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
INPUTS = {
    "R": np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]]),
    "b": np.array([0.10, 0.05, 0.10]),
    "joint": np.array([0.80, 0.85, 0.90]),
    "curve": np.array([0.80, 0.45, 0.60, 0.70]),
    "nats": [3.0, 3.1, 3.4],
    "words": [4.0, 4.1],
    "bits": [1.1, 1.2],
}


@pytest.mark.parametrize("id", METRICS)
def test_every_definition_is_on_the_page_with_its_worked_number(id):
    """Formula, unit, orientation and source are the registry's; the number is computed anew."""
    (line,) = re.findall(rf"^\| `{re.escape(id)}` \| (.+) \|$", PAGE, re.MULTILINE)
    formula, unit, better, worked, source = line.split(" | ")
    metric = METRICS[id]

    assert (formula, unit, source) == (metric.formula, metric.unit, metric.source)
    assert better == ("higher" if metric.higher_is_better else "lower")
    value = metric.function(*(INPUTS[name] for name in metric.needs))
    assert float(worked.replace("−", "-")) == pytest.approx(value, abs=5.1e-4)
