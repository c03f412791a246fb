"""How far every weight moved."""

import numpy as np
import pytest

from continual.linalg import intruders
from continual.reports.content import assemble
from continual.runs.assemble import run
from continual.trackers.weights import weight_rows
from tests.adapters.models import adapt
from tests.sequences import QUICK, small_scenario


@pytest.mark.parametrize("method", ["lora", "curlora", "slora", "nlora"])
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_norms_and_intruders_are_those_of_the_dense_change(name, method):
    """For Linear and Conv1D."""
    adaptation = adapt(name, method, tasks=2)
    rows = {(r.task, r.metric): r for r in weight_rows(adaptation, 1, 3, with_intruders=True)}
    for layer, adapter in adaptation.adapters.items():
        base = adaptation.layers[layer].base
        weight = base.weight.detach().double().numpy()
        weight = weight if name == "llama" else weight.T
        delta = adapter.delta_weight().detach().double().numpy()
        ratio = np.linalg.norm(delta) / np.linalg.norm(weight)
        count = min(10, *weight.shape)
        expected = len(intruders(weight, weight + delta, leading_vectors=count))

        assert rows[layer, "change_norm"].value == pytest.approx(ratio, rel=1e-4)
        assert rows[layer, "intruder_dimensions"].value == expected
    assert len(rows) == 2 * len(adaptation.adapters)


@pytest.mark.slow
def test_a_report_shows_what_happened_to_the_weights(tmp_path):
    """Collisions and layers, for the methods that have them."""
    settings = {**QUICK, "evaluation": {**QUICK["evaluation"], "intruders": True}}
    records = [
        run(small_scenario(2), method, out=tmp_path / method, settings=settings)
        for method in ("nlora", "lora", "frozen")
    ]
    (section,) = assemble(records).sections
    collisions, norms, counts = section.diagnostics

    assert [row[0] for row in collisions.rows] == ["nlora"]
    assert norms.columns == ("layer", "nlora", "lora")
    assert len(norms.rows) == len(counts.rows) == 12
    assert all(float(cell) > 0.0 for row in norms.rows for cell in row[1:])
