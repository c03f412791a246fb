"""Grids of runs."""

import numpy as np
import pytest

from continual.errors import InputError
from continual.runs.progress import SilentReporter
from continual.studies import Grid, run_study
from tests.runs.test_run import digits
from tests.sequences import QUICK, small_scenario


def test_a_study_runs_every_cell_once_and_continues(tmp_path):
    """Records come back in the order of the grid; a second call finds them finished."""
    grid = Grid.parse("frozen,lora", "0,1")
    records = run_study(
        small_scenario(1), grid, out=tmp_path, settings=QUICK, reporter=SilentReporter()
    )
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    again = run_study(
        small_scenario(1), grid, out=tmp_path, settings=QUICK, reporter=SilentReporter()
    )

    assert [(r.method, r.seed) for r in records] == grid.cells()
    assert [r.path for r in again] == [r.path for r in records]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == stamps


@pytest.mark.slow
def test_runs_at_once_leave_what_runs_in_turn_leave(tmp_path):
    """In the order of the grid, and what they say is heard."""
    heard = []

    class Listening(SilentReporter):
        def note(self, text):
            heard.append(text)

        def step(self, what, done, total):
            heard.append(what)

    grid = Grid.parse("frozen,lora,head-only", "0")
    found = {}
    for jobs in (1, 2):
        found[jobs] = run_study(
            digits(),
            grid,
            out=tmp_path / str(jobs),
            settings=QUICK,
            jobs=jobs,
            reporter=Listening(),
        )

    for alone, among in zip(found[1], found[2], strict=True):
        assert (among.method, among.complete) == (alone.method, True)
        np.testing.assert_allclose(among.matrix(), alone.matrix(), atol=0.1)
    assert any("learning" in text for text in heard)


def test_a_method_may_have_settings_of_its_own(tmp_path):
    """Each variant has a directory of its own, named so that it is a path of one part."""
    grid = Grid.parse("lora,lora:train.lr=0.03:method.rank=2", "0")
    plain, other = run_study(
        small_scenario(1), grid, out=tmp_path, settings=QUICK, reporter=SilentReporter()
    )

    assert (plain.config["train"]["lr"], other.config["train"]["lr"]) == (0.003, 0.03)
    assert other.config["train"]["batch_size"] == QUICK["train"]["batch_size"]
    assert other.config["method_options"]["rank"] == 2
    assert other.path.name == "lora-train.lr=0.03-method.rank=2-seed0"


def test_settings_of_a_method_may_hold_lists_and_colons():
    """Commas in brackets and colons in a regular expression separate nothing."""
    grid = Grid.parse("slora:method.ranks=[[0,4],[2,2]],lora:method.targets=re:.*q_proj", "0")

    assert grid.methods == (
        "slora:method.ranks=[[0,4],[2,2]]",
        "lora:method.targets=re:.*q_proj",
    )


@pytest.mark.parametrize(
    "methods", ["lora,seqlora", "lora,lora:train.lr=0.003", "lora:train.lr=0.03,lora:train.lr=3e-2"]
)
def test_the_same_run_twice_is_refused(tmp_path, methods):
    """Whatever the words: it would count twice in every interval."""
    with pytest.raises(InputError, match="are the same run"):
        run_study(
            small_scenario(1), Grid.parse(methods, "0"), out=tmp_path, reporter=SilentReporter()
        )
    assert not list(tmp_path.iterdir())


def test_what_goes_wrong_in_a_process_is_told_here(tmp_path):
    """As the error that it is; what was finished stays."""
    (tmp_path / "frozen-seed0").mkdir()
    (tmp_path / "frozen-seed0" / "notes").write_text("precious")

    with pytest.raises(InputError, match="is not empty and is no run directory"):
        run_study(
            small_scenario(1),
            Grid.parse("frozen,lora", "0"),
            out=tmp_path,
            settings=QUICK,
            jobs=2,
            reporter=SilentReporter(),
        )


@pytest.mark.parametrize(("jobs", "engine"), [(0, "local"), (2, "ray")])
def test_impossible_numbers_of_jobs_are_refused(tmp_path, jobs, engine):
    """With what the option means."""
    with pytest.raises(InputError, match="how many runs go on at once"):
        run_study(
            small_scenario(1),
            Grid.parse("frozen", "0"),
            out=tmp_path,
            engine=engine,
            jobs=jobs,
            reporter=SilentReporter(),
        )


def test_a_wrong_cell_stops_the_study_before_it_starts(tmp_path):
    """The last method of the grid is checked before the first one trains."""
    with pytest.raises(InputError, match="did you mean 'curlora'"):
        run_study(
            small_scenario(1),
            Grid.parse("lora,curlra", "0"),
            out=tmp_path / "study",
            reporter=SilentReporter(),
        )

    assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("methods", "seeds", "message"),
    [
        ("", "0", "at least one name"),
        ("lora", "", "numbers from 0"),
        ("lora", "a", "numbers from 0"),
        ("lora,lora", "0", "--methods names lora more than once"),
        ("lora", "1,1", "--seeds names 1 more than once"),
    ],
)
def test_grids_that_make_no_sense(methods, seeds, message):
    """Each says what a grid is."""
    with pytest.raises(InputError, match=message):
        Grid.parse(methods, seeds)


def test_an_engine_that_is_not_there_is_named(tmp_path):
    """An unknown engine is answered with the known ones."""
    with pytest.raises(InputError, match="unknown engine 'slurm'"):
        run_study(
            small_scenario(1),
            Grid.parse("lora", "0"),
            out=tmp_path,
            engine="slurm",
            reporter=SilentReporter(),
        )
