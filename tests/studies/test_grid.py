"""Grids of runs."""

import pytest

from continual.errors import InputError
from continual.runs.progress import SilentReporter
from continual.studies import Grid, run_study
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
