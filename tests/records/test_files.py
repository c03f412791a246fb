"""Files are the old ones or the new ones."""

import os
from pathlib import Path

import pytest

from continual.errors import InputError
from continual.records import (
    DamagedFileError,
    read_json,
    sha256_of,
    write_atomic,
    write_json_atomic,
)


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
