"""Tokens per second, memory and energy of a run."""

import numpy as np
import pytest
import torch

from continual.trackers.cost import Meter

CPU = torch.device("cpu")


def test_tokens_are_counted_once():
    """Those of an experience, whatever was asked about the pace in between."""
    meter = Meter(CPU)
    meter.count(100)
    meter.pace()
    meter.count(20)

    assert meter.take() == 120
    assert meter.take() == 0


def test_pace_is_tokens_over_seconds_since_the_last_time():
    """What came before a restart, such as an evaluation, does not slow it down."""
    now = iter((0.0, 100.0, 104.0, 104.0))
    meter = Meter(CPU, clock=lambda: next(now))
    meter.restart()
    meter.count(1000)

    assert meter.pace()["tokens_per_second"] == 250.0


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
def test_energy_is_that_since_the_last_time():
    """Codecarbon's estimate, positive while something is computed."""
    meter = Meter(CPU)
    np.linalg.svd(np.random.default_rng(0).normal(size=(600, 600)))
    first = meter.energy()
    second = meter.energy()
    meter.close()

    assert 0 < second < first < 0.01
