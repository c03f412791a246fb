"""Grids of runs."""

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from continual.errors import InputError
from continual.records import RunRecord
from continual.records.lock import InUseError, locked
from continual.runs.progress import SilentReporter
from continual.scenario import CallableSource, Scenario, Task
from continual.studies import Grid, StudyError, run_study
from continual.studies.cell import run_cell
from continual.studies.grid import grid_cells
from continual.studies.local import Crew
from continual.studies.study import run_cells
from continual.studies.where import Where
from tests.runs.test_run import digits
from tests.sequences import QUICK, rows, small_scenario


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

    assert [(r.method, None, r.seed) for r in records] == grid.cells()
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


def test_what_lies_in_a_cells_directory_is_seen_before_anything_runs(tmp_path):
    """Another thing there stops the study, and stays."""
    (tmp_path / "lora-seed0").mkdir()
    (tmp_path / "lora-seed0" / "notes").write_text("precious")

    with pytest.raises(InputError, match="is not empty and is no run directory"):
        run_study(
            small_scenario(1),
            Grid.parse("frozen,lora", "0"),
            out=tmp_path,
            settings=QUICK,
            reporter=SilentReporter(),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["lora-seed0"]


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_run_that_fails_does_not_stop_the_others(tmp_path, jobs):
    """It is named at the end, and the same study tries only what is missing again."""
    grid = Grid.parse("lora:train.lr=1e30:train.clip=null,frozen", "0,1")
    with pytest.raises(StudyError, match=r"2 of 4 runs failed(.|\n)*NonFiniteLossError: the"):
        run_study(
            small_scenario(1),
            grid,
            out=tmp_path,
            settings=QUICK,
            jobs=jobs,
            reporter=SilentReporter(),
        )

    complete = [path.parent.name for path in tmp_path.rglob("COMPLETE")]
    assert sorted(complete) == ["frozen-seed0", "frozen-seed1"]


def deadly(marker: str, times: int, part: str) -> list[dict[str, str]]:
    """Rows of a task; the first processes that ask for them are killed."""
    deaths = Path(marker)
    if part == "test" and deaths.stat().st_size < times:
        with deaths.open("a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)
    return rows("weather", 8, 0 if part == "train" else 1000)


@pytest.mark.parametrize(
    ("times", "complete"),
    [
        pytest.param(2, 2, marks=pytest.mark.slow),
        pytest.param(3, 1, marks=pytest.mark.soak),
    ],
)
def test_a_process_that_is_killed_is_replaced(tmp_path, times, complete):
    """Its run is begun again in another one, but not for ever; the other run is not touched."""
    (tmp_path / "deaths").touch()
    fatal = {"marker": str(tmp_path / "deaths"), "times": times}
    sources = {
        part: CallableSource(callable=f"{__name__}:deadly", params={**fatal, "part": part})
        for part in ("train", "test")
    }
    task = Task(name="weather", kind="text-classification", labels=("cold", "warm"), **sources)
    fatal_one = Scenario(name="fatal", tasks=(task,), defaults={"backbone": "tiny-lm"})
    heard = []

    class Listening(SilentReporter):
        def note(self, text):
            heard.append(text)

    cells = [
        *grid_cells(fatal_one, Grid.parse("frozen", "0"), out=tmp_path / "a", settings=QUICK),
        *grid_cells(small_scenario(1), Grid.parse("frozen", "0"), out=tmp_path / "b"),
    ]
    found = run_cells(cells, Where(jobs=2), Listening())

    assert sum(isinstance(one, RunRecord) for one in found) == complete
    assert isinstance(found[1], RunRecord)
    assert sum("ended with exit code -9; going on" in text for text in heard) == 2
    if complete == 1:
        assert "for the 3rd time" in str(found[0])


@pytest.mark.slow
def test_a_process_that_dies_while_it_waits_costs_no_run(tmp_path):
    """The cell that it should have had is given to the next one, and counts as not tried."""
    cells = grid_cells(small_scenario(1), Grid.parse("frozen", "0"), out=tmp_path, settings=QUICK)
    crew = Crew(cells, 1, SilentReporter())
    crew.workers[0].process.kill()
    crew.workers[0].process.join()
    try:
        crew.work()
    finally:
        for worker in crew.workers:
            worker.end()

    assert crew.roster.outcomes == {0: None}
    assert not crew.roster.lost


@pytest.mark.parametrize(("jobs", "executor"), [(0, "local"), (2, "ray")])
def test_impossible_numbers_of_jobs_are_refused(tmp_path, jobs, executor):
    """With what the option means."""
    with pytest.raises(InputError, match="how many runs go on at once"):
        run_study(
            small_scenario(1),
            Grid.parse("frozen", "0"),
            out=tmp_path,
            executor=executor,
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


def test_an_executor_that_is_not_there_is_named(tmp_path):
    """An unknown executor is answered with the known ones."""
    with pytest.raises(InputError, match="unknown executor 'slurm'"):
        run_study(
            small_scenario(1),
            Grid.parse("lora", "0"),
            out=tmp_path,
            executor="slurm",
            reporter=SilentReporter(),
        )


@pytest.mark.slow
def test_a_process_that_still_holds_a_directory_is_waited_for(tmp_path, monkeypatch):
    """It ends soon, since its study is gone; one that does not is named."""
    (cell,) = grid_cells(small_scenario(1), Grid.parse("frozen", "0"), out=tmp_path, settings=QUICK)
    held, letting_go = threading.Event(), threading.Event()

    def hold():
        with locked(cell.out):
            held.set()
            letting_go.wait()

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    monkeypatch.setattr("continual.studies.cell.ORPHANED", 0.1)
    with pytest.raises(InUseError, match="in use by process"):
        run_cell(cell, SilentReporter())
    monkeypatch.setattr("continual.studies.cell.ORPHANED", 60.0)
    threading.Timer(1.0, letting_go.set).start()

    assert run_cell(cell, SilentReporter()).complete
    holder.join()
