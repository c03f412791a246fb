"""Tokens per second, memory and energy of a run."""

import time

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
    meter = Meter(CPU)
    time.sleep(0.3)
    meter.restart()
    began = time.monotonic()
    meter.count(1000)
    time.sleep(0.02)
    pace = meter.pace()["tokens_per_second"]

    assert 1000 / 0.3 < 1000 / (time.monotonic() - began) <= pace * 1.001


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
