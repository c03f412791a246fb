"""The study of the standard benchmark: whole, and its tables say what its runs say."""

import json
from statistics import mean

import numpy as np
import pytest
import yaml

from tests.analysis.scripts import STUDIES

FOLDER = STUDIES / "cl-standard-4"
MADE = ("minilm", "tiny-lm")


def rows_of(name):
    return json.loads((FOLDER / f"{name}.json").read_text())


@pytest.mark.parametrize("name", MADE)
def test_every_method_has_every_seed(name):
    """And R of every run is whole where its policy looks."""
    config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    rows = rows_of(name)

    for method, lr in {(row["method"], row["lr"]) for row in rows}:
        seeds = [row["seed"] for row in rows if (row["method"], row["lr"]) == (method, lr)]
        assert sorted(seeds) == config["seeds"], method
    assert {row["method"] for row in rows} == set(config["methods"])
    for row in rows:
        R = np.array(row["R"], float)
        looked = [len(R) - 1] if row["method"] == "joint" else range(len(R))
        assert all(np.isfinite(R[i, : i + 1]).all() for i in looked)
        assert row["average_accuracy"] == pytest.approx(R[-1].mean())


@pytest.mark.parametrize("name", MADE)
def test_the_table_says_what_the_runs_say(name):
    """Means over seeds of accuracy and forgetting stand in the line of the method."""
    text = (FOLDER / f"{name}.md").read_text().split("Drift and cost")[0]
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    said = {cells[0][2:].removesuffix(" (control)"): cells for cells in lines}
    rows = rows_of(name)
    several = len({row["lr"] for row in rows if row["method"] == "lora"}) > 1

    for method, lr in {(row["method"], row["lr"]) for row in rows}:
        own = [row for row in rows if (row["method"], row["lr"]) == (method, lr)]
        label = f"lora (lr={lr:g})" if method == "lora" and several else method
        for cell, measure in enumerate(("average_accuracy", "learning_accuracy"), start=2):
            if measure in own[0]:
                printed = float(said[label][cell].split("<br>")[0])
                assert printed == pytest.approx(mean(row[measure] for row in own), abs=5.1e-4)
