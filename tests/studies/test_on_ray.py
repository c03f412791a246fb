"""The grid on Ray gives what the grid here gives."""

import numpy as np
import pytest

from continual.runs.progress import SilentReporter
from continual.studies import Grid, run_study
from tests.sequences import QUICK, small_scenario


@pytest.mark.slow
def test_ray_gives_the_same_bytes(tmp_path):
    """Two cells as remote tasks retain what two cells in this process do.

    Not bit for bit: Ray gives a task its own number of threads, and sums round accordingly.
    """
    grid = Grid.parse("frozen,curlora", "0")
    found = {}
    for engine in ("local", "ray"):
        found[engine] = run_study(
            small_scenario(1),
            grid,
            out=tmp_path / engine,
            settings=QUICK,
            engine=engine,
            reporter=SilentReporter(),
        )

    for here, there in zip(found["local"], found["ray"], strict=True):
        np.testing.assert_allclose(here.matrix(), there.matrix(), atol=0.13)
        assert (here.method, there.complete) == (there.method, True)
