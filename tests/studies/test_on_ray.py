"""A study on a Ray cluster gives what a study here gives, whatever happens to its workers."""

import importlib.util
import sys
from pathlib import Path

import pytest

from continual.runs.progress import SilentReporter

FILE = Path(__file__).parents[2] / "analysis" / "ray-study" / "study.py"


def _load():
    spec = importlib.util.spec_from_file_location("ray_study", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ray_study"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_worker_that_is_killed_loses_no_run_and_repeats_none(tmp_path, monkeypatch):
    """Twenty-four runs, one of them killed in its middle: the same bytes as in processes here."""
    monkeypatch.setattr("continual.studies.local.cores", lambda: 2)  # one thread for each of both
    found = _load().compare(tmp_path, SilentReporter())

    assert (found["cells"], found["complete"], found["byte-identical"]) == (24, 24, 24)
    killed = found["killed"]["cell"]
    assert found["lost"] == {killed: 1}
    assert found["begun more than once"] == {killed: 2}  # and went on from its checkpoint
    assert (found["begun once"], found["finished once"]) == (23, 24)
    assert found["most at once"] <= 2
