"""Collisions of a run: means over layers, from each task's own change."""

import numpy as np
import pytest

from continual.runs.assemble import run
from continual.trackers.collision import MEASURES, collisions
from tests.adapters.models import adapt
from tests.sequences import QUICK, small_scenario


@pytest.mark.parametrize("method", ["nlora", "olora", "inclora", "slora", "per-task"])
def test_the_measures_are_means_over_layers_weighted_by_size(method):
    """Against the dense changes, layer by layer."""
    adaptation = adapt("gpt2", method, tasks=3)
    rows = {(r.task, r.metric): r for r in collisions(small_scenario(3), adaptation, 2, 7)}
    layers = [
        [(B @ A).double().numpy() for B, A in adapter.changes()]
        for adapter in adaptation.adapters.values()
    ]
    sizes = np.array([own[0].size for own in layers])

    def mean(j, measure):
        return float(np.average([measure(own[j], own[2]) for own in layers], weights=sizes))

    for j, task in enumerate(list(small_scenario(3).tasks)[:2]):
        soft = mean(j, lambda p, q: np.abs(p * q).sum() / (np.linalg.norm(p) * np.linalg.norm(q)))
        rate = mean(
            j,
            lambda p, q: np.mean(
                (np.abs(p) > 0.01 * np.abs(p).max()) & (np.abs(q) > 0.01 * np.abs(q).max())
            ),
        )
        product = mean(j, lambda p, q: np.linalg.norm(p.T @ q) ** 2)
        assert rows[task.name, "soft_collision"].value == pytest.approx(soft, rel=1e-4)
        assert rows[task.name, "collision_rate"].value == pytest.approx(rate, abs=5e-3)
        assert rows[task.name, "awom"].value == pytest.approx(product, rel=1e-4)
        assert rows[task.name, "overlap"].n == sizes.sum()
    assert len(rows) == 2 * len(MEASURES)


@pytest.mark.parametrize("method", ["lora", "curlora", "full", "frozen"])
def test_tasks_that_share_one_change_have_no_collisions(method):
    """There is nothing to compare."""
    assert collisions(small_scenario(3), adapt("llama", method, tasks=2), 1, 0) == []


def test_a_run_records_them(tmp_path):
    """Below the diagonal of a matrix like R."""
    record = run(small_scenario(2), "nlora", out=tmp_path / "r", settings=QUICK)
    found = record.collisions("soft_collision")

    assert np.isnan(found[0]).all()
    assert 0.0 < found[1, 0] <= 1.0
    assert np.isnan(found[1, 1])


@pytest.mark.parametrize("method", ["lora", "dota"])
@pytest.mark.parametrize("after", [-1, 0, 1])
def test_methods_that_share_one_change_have_none(method, after):
    """Before the first task, after it and later; whether the change has factors or not."""
    adaptation = adapt("gpt2", method, tasks=after + 1)

    assert collisions(small_scenario(3), adaptation, after, 7) == []
