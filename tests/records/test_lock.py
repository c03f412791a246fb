"""One process at a time in a run directory."""

import json
import os
import signal
import subprocess
import sys

import pytest

from continual.errors import InputError
from continual.records.directory import find_run
from continual.records.lock import locked

HOLD = "import sys, pathlib\nfrom continual.records.lock import locked\n" + (
    "with locked(pathlib.Path(sys.argv[1])):\n    print('held', flush=True)\n    sys.stdin.read()"
)


def test_the_second_one_is_refused_and_told_who_holds_it(tmp_path):
    """Pid, host, since when, what to do; a kill -9 of the owner lets the next one in at once."""
    folder = tmp_path / "r"
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout.readline() == "held\n"
    known = json.loads((folder / "lock.json").read_text())
    with (
        pytest.raises(
            InputError,
            match=rf"in use by process {owner.pid} on {known['host']}, since {known['since']} UTC. "
            "Wait until that run ends or stop it .* give --out another directory",
        ),
        locked(folder),
    ):
        pass
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    assert (folder / "lock.json").exists()

    with locked(folder):
        assert json.loads((folder / "lock.json").read_text())["pid"] == os.getpid()


def test_a_directory_that_nothing_was_written_into_is_removed_again(tmp_path):
    """With those above it that were made for it, and no others."""
    (tmp_path / "runs").mkdir()
    with locked(tmp_path / "runs" / "a" / "b"):
        assert (tmp_path / "runs" / "a" / "b").is_dir()

    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]


def test_the_beginnings_of_a_run_are_an_empty_directory(tmp_path):
    """What a kill leaves before run.yaml is there is no foreign directory, and drafts go."""
    for name in ("lock", "lock.json", "environment.json", ".run.yaml.x1.tmp"):
        (tmp_path / name).write_text("{}")
    assert find_run(tmp_path, {}) is None
    with locked(tmp_path):
        assert not (tmp_path / ".run.yaml.x1.tmp").exists()


def test_within_a_process_too(tmp_path):
    """A second run of the same program is refused, not let in."""
    with locked(tmp_path), pytest.raises(InputError, match="in use by process"), locked(tmp_path):
        pass


def test_a_file_in_the_way_is_an_input_error(tmp_path):
    """It says which directory and why."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write into .*file/r: Not a directory"):  # noqa: SIM117
        with locked(tmp_path / "file" / "r"):
            pass
