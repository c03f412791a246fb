"""Tokens per second, memory and energy of a run."""

import numpy as np
import pytest
import torch

from continual.records import RunRecord
from continual.reports.costs import costs
from continual.runs.assemble import run
from continual.trackers.cost import Meter
from tests.runs.test_run import CrashAt, CrashError
from tests.sequences import QUICK, small_scenario

CPU = torch.device("cpu")


def clock(*moments):
    """A clock that says these moments in turn."""
    return iter(moments).__next__


def test_tokens_are_counted_once():
    """Those of an experience, whatever was asked about the pace in between."""
    meter = Meter(CPU)
    meter.count(100)
    meter.pace()
    meter.count(20)

    assert meter.spent()["training_tokens"] == 120
    meter.begin({})
    assert meter.spent()["training_tokens"] == 0


def test_pace_is_tokens_over_seconds_of_learning():
    """An evaluation in between does not slow it down."""
    meter = Meter(CPU, clock=clock(0.0, 1.0, 101.0, 104.0))
    meter.count(1000)
    with meter.evaluation():
        pass

    assert meter.pace()["tokens_per_second"] == 250.0  # 1 s before the evaluation, 3 s after


def test_seconds_are_those_of_learning_and_of_evaluation():
    """Nothing is lost between them, and what an interrupted session spent is carried on."""
    meter = Meter(CPU, clock=clock(0.0, 2.0, 7.0, 8.0))
    meter.begin({"training_seconds": 10.0, "evaluation_seconds": 1.0, "training_tokens": 50})
    with meter.evaluation():
        pass
    spent = meter.spent()

    assert spent["training_seconds"] == 10.0 + 2.0 + 1.0
    assert spent["evaluation_seconds"] == 1.0 + 5.0
    assert spent["training_tokens"] == 50


@pytest.mark.parametrize("status", ["Name: python\n", ""])
def test_a_system_that_does_not_tell_stops_nothing(status, tmp_path, monkeypatch):
    """No peak in the status file, and none that may start anew."""
    (tmp_path / "status").write_text(status)
    monkeypatch.setattr("continual.trackers.cost.STATUS", tmp_path / "status")
    monkeypatch.setattr("continual.trackers.cost.RESET", tmp_path)

    assert Meter(CPU).memory() > 1e6


def test_peak_memory_sees_what_was_there_for_a_moment():
    """400 MB that were given back raise the peak of a new meter, and not of the next."""
    before = Meter(CPU).memory()
    meter = Meter(CPU)
    held = np.ones(50_000_000)
    del held

    assert meter.memory() > before + 300e6
    assert Meter(CPU).memory() < before + 100e6


@pytest.mark.slow
def test_energy_is_added_up_and_not_guessed():
    """Codecarbon's estimate rises; a part that was not measured leaves the whole unknown."""
    meter = Meter(CPU)
    meter.begin({})
    np.linalg.svd(np.random.default_rng(0).normal(size=(600, 600)))
    first = meter.spent()["energy_kwh"]
    second = meter.spent()["energy_kwh"]
    meter.begin({"training_seconds": 3.0})
    unknown = meter.spent()
    meter.close()

    assert 0 < first <= second < 0.01
    assert "energy_kwh" not in unknown


@pytest.mark.slow
def test_an_interrupted_run_costs_what_it_has_cost(tmp_path):
    """Tokens are those of the whole run, and a run killed at a boundary is not counted twice."""
    settings = {**QUICK, "evaluation": {**QUICK["evaluation"], "sample": 4}}
    whole = costs(run(small_scenario(2), "lora", out=tmp_path / "whole", settings=settings))
    torn = tmp_path / "torn"
    for n in (3, 5, 6, 8):
        with pytest.raises(CrashError):
            run(small_scenario(2), "lora", out=torn, settings=settings, reporter=CrashAt(n))
    found = costs(run(small_scenario(2), "lora", out=torn, settings=settings))
    tokens = [
        sum(event["training_tokens"] for event in record.events() if "training_tokens" in event)
        for record in (RunRecord.open(tmp_path / "whole"), RunRecord.open(torn))
    ]

    assert tokens[0] == tokens[1] > 0
    assert found.keys() == whole.keys()
