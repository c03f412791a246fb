"""Files are the old ones or the new ones."""

import os
from pathlib import Path

import pytest

from continual.errors import InputError
from continual.records import (
    DamagedFileError,
    append_event,
    events_size,
    read_json,
    sha256_of,
    write_atomic,
    write_json_atomic,
)
from continual.records.checksums import settle
from continual.records.paths import after_folders


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """The disk fills up while syncing."""
    path = tmp_path / "scores"
    write_atomic(path, b"old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomic(path, b"new")

    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["scores"]


def test_json_comes_back(tmp_path):
    """Text beyond ASCII included."""
    write_json_atomic(tmp_path / "a.json", {"μ": [1, None, 0.1 + 0.2]})

    assert read_json(tmp_path / "a.json") == {"μ": [1, None, 0.1 + 0.2]}


def test_nan_is_not_json(tmp_path):
    """It is refused instead of written as something others cannot read."""
    with pytest.raises(ValueError, match="JSON"):
        write_json_atomic(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_damage_and_absence_are_told_apart(tmp_path):
    """A torn file is damaged; a missing one was never there."""
    (tmp_path / "torn.json").write_text('{"a": ')
    with pytest.raises(DamagedFileError, match=r"torn\.json is damaged"):
        read_json(tmp_path / "torn.json")
    with pytest.raises(InputError, match=r"none\.json does not exist"):
        read_json(tmp_path / "none.json")


def test_a_rename_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    """The last step is as safe as the first."""
    path = tmp_path / "scores"
    write_atomic(path, b"old")

    def refused(self, target):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", refused)
    with pytest.raises(OSError, match="Permission denied"):
        write_atomic(path, b"new")

    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["scores"]


def test_a_record_is_readable_by_others_as_the_umask_says(tmp_path):
    """Not private as temporary files are."""
    (tmp_path / "plain").write_bytes(b"")
    write_atomic(tmp_path / "ours", b"")

    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_the_hash_is_of_the_bytes(tmp_path):
    """As sha256sum prints it."""
    write_atomic(tmp_path / "a", b"abc")

    assert sha256_of(tmp_path / "a").startswith("ba7816bf8f01cfea")


def test_events_are_on_the_disk_before_anything_vouches_for_them(tmp_path, monkeypatch):
    """What a power cut takes from events.jsonl is in no checksum and in no checkpoint."""
    synced, sync = [], os.fsync

    def noted(handle):
        synced.append(os.readlink(f"/proc/self/fd/{handle}").rpartition("/")[2])
        sync(handle)

    monkeypatch.setattr(os, "fsync", noted)
    append_event(tmp_path, {"experience": 0, "step": 1})
    assert synced == []  # not at every step
    settle(tmp_path)
    assert synced[0] == "events.jsonl"
    assert "checksums.json" in synced[1]
    synced.clear()

    assert events_size(tmp_path) == (tmp_path / "events.jsonl").stat().st_size
    assert synced == ["events.jsonl"]


def test_states_are_in_the_order_of_experiences(tmp_path):
    """The hundredth comes after the ninety-ninth, which letters would not say."""
    for k in (100, 99, 3):
        (tmp_path / f"after-{k:02d}").mkdir()

    assert [path.name for path in after_folders(tmp_path)] == ["after-03", "after-99", "after-100"]
    assert after_folders(tmp_path / "none") == []
