"""The log of a run survives being cut anywhere."""

import pytest

from continual.records import DamagedFileError, append_event, truncate_events
from continual.records.events import read_events


def test_a_torn_last_line_is_dropped_and_cut_before_the_next(tmp_path):
    """A kill while writing loses that line only."""
    append_event(tmp_path, {"experience": 0, "step": 1})
    path = tmp_path / "events.jsonl"
    path.write_bytes(path.read_bytes() + b'{"experience": 0, "st')

    assert read_events(path) == [{"experience": 0, "step": 1}]
    append_event(tmp_path, {"experience": 0, "step": 2})
    assert [event["step"] for event in read_events(path)] == [1, 2]


def test_what_came_after_a_position_is_cut(tmp_path):
    """A run that goes on from (1, 5) does not repeat what it will do again."""
    for experience, step in [(-1, 0), (0, 5), (0, 10), (1, 5), (1, 10)]:
        append_event(tmp_path, {"experience": experience, "step": step})

    assert truncate_events(tmp_path, 1, 5) == 1
    assert read_events(tmp_path / "events.jsonl")[-1] == {"experience": 1, "step": 5}
    assert truncate_events(tmp_path, -1, -1) == 4


def test_numbers_that_json_lacks_become_null(tmp_path):
    """An infinite loss does not make the log unreadable."""
    append_event(tmp_path, {"experience": 0, "step": 1, "loss": float("inf")})

    assert read_events(tmp_path / "events.jsonl")[0]["loss"] is None


def test_damage_in_the_middle_is_said(tmp_path):
    """Only the last line can be torn by a kill; another is damage."""
    (tmp_path / "events.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(DamagedFileError, match="line 2"):
        read_events(tmp_path / "events.jsonl")


def test_only_a_line_feed_ends_a_line(tmp_path):
    """A stray carriage return is damage to be told, not an end after which all is forgotten."""
    (tmp_path / "events.jsonl").write_bytes(b'{"step": 1}\n{"step"\r: \xff}\n{"step": 3}\n')
    with pytest.raises(DamagedFileError, match="line 2"):
        truncate_events(tmp_path, 0, 9)


def test_zeros_that_a_power_cut_leaves_are_a_torn_line(tmp_path):
    """Some file systems lengthen a file before they write it."""
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"step": 1}\n' + bytes(40))

    assert read_events(path) == [{"step": 1}]
    append_event(tmp_path, {"step": 2})
    assert read_events(path) == [{"step": 1}, {"step": 2}]


def test_no_log_yet_is_an_empty_one(tmp_path):
    """A run killed before its first event can be continued."""
    assert read_events(tmp_path / "events.jsonl") == []
    assert truncate_events(tmp_path, 0, 0) == 0
