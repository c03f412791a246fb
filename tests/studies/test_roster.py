"""The books of a study."""

from continual.records.events import read_events
from continual.runs.progress import SilentReporter
from continual.studies.cell import LostWorkerError
from continual.studies.grid import Grid, grid_cells
from continual.studies.roster import Roster
from tests.sequences import small_scenario


class Counting(SilentReporter):
    """Keeps what it is told."""

    def __init__(self):
        self.notes, self.counts = [], []

    def note(self, text):
        self.notes.append(text)

    def runs(self, working, *, waiting, done, failed):
        self.counts.append((len(working), waiting, done, failed))


def test_every_cell_ends_once_and_a_lost_one_is_given_up_the_third_time(tmp_path):
    """A finished one is never begun; what happened stands in the journal."""
    cells = grid_cells(small_scenario(1), Grid.parse("frozen,lora", "0,1"), out=tmp_path)
    (tmp_path / "frozen-seed0").mkdir()
    (tmp_path / "frozen-seed0" / "COMPLETE").touch()
    heard = Counting()
    roster = Roster(cells, heard)
    assert list(roster.waiting) == [1, 2, 3]
    for k in range(3):
        assert roster.waiting.popleft() == 1
        roster.begin(1, "here", 100 + k)
        roster.lose(1, "the process of frozen-seed1 was lost", "buy memory")
    for index, outcome in ((2, None), (3, ValueError("no"))):
        assert roster.waiting.popleft() == index
        roster.begin(index, "here", 7)
        roster.finish(index, outcome)

    assert roster.done
    assert heard.notes == [
        "1 of 4 runs had finished before.",
        *["the process of frozen-seed1 was lost; going on with the run in a new process."] * 2,
    ]
    assert heard.counts[0] == (0, 3, 1, 0)
    assert heard.counts[-1] == (0, 0, 2, 2)
    assert isinstance(roster.raised()[1], LostWorkerError)
    assert "was lost, for the 3rd time; buy memory." in str(roster.raised()[1])
    told = [(line["event"], line["cell"]) for line in read_events(tmp_path / "cells.jsonl")]
    assert told == [
        *[("begun", "frozen-seed1"), ("lost", "frozen-seed1")] * 3,
        ("failed", "frozen-seed1"),
        ("begun", "lora-seed0"),
        ("finished", "lora-seed0"),
        ("begun", "lora-seed1"),
        ("failed", "lora-seed1"),
    ]
