"""Faults while a run works: what was saved stays, the message says the way on, and that works."""

import errno
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from continual import load_scenario
from continual.backbone.vision import EncodedImages
from continual.errors import InputError, StoppedError
from continual.records import RunRecord
from continual.runs.assemble import run
from continual.trackers.cost import Meter
from continual.training.non_finite import NonFiniteLossError
from tests.runs import faults
from tests.runs.faults import Notes, patched, small, words_of
from tests.runs.test_run import CrashAt, CrashError, content
from tests.runs.test_stopping import StopAt
from tests.sequences import QUICK, small_scenario, write_scenario

pytestmark = pytest.mark.slow
PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
SAVE = "continual.training.checkpoint.save_file"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, str]:
    """What the run leaves that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole") / "r"
    small(folder)
    return content(folder)


@pytest.mark.parametrize(
    ("where", "n"),
    [
        (SAVE, 1),
        (SAVE, 3),
        ("continual.interop.peft.save_file", 1),
        ("continual.trackers.ledger.write_scores", 2),
        ("continual.trackers.ledger.write_examples", 2),
        ("continual.runs.recorder.append_event", 4),
        ("continual.runs.recorder.write_known", 1),
        ("continual.runs.carrying_out.mark_complete", 1),
    ],
)
def test_a_full_disk_loses_nothing_that_was_saved(tmp_path, whole, where, n):
    """The error says that the disk is full; with room, the same call leaves the same bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patched(patch, where, n, faults.full(where))
        with pytest.raises(OSError, match="No space left") as raised:
            small(tmp_path / "r")
    small(tmp_path / "r")

    assert raised.value.errno == errno.ENOSPC
    assert not list((tmp_path / "r").glob("**/.*"))  # no drafts that take room
    assert content(tmp_path / "r") == whole


COMMAND = [sys.executable, "-m", "continual.cli", "run", "written.yaml", "--method", "lora"]
COMMAND += ["--quiet", "--out"]


@pytest.fixture
def tmpfs(tmp_path):
    """A file system of its own, where the system lets one be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], check=False)
    if done.returncode:
        pytest.skip("this system lets nobody here mount a file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def command(folder: Path, out: Path, *before: str) -> subprocess.CompletedProcess:
    """Run the written scenario of a folder from the command line."""
    write_scenario(folder)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    given = [*before, *COMMAND, out]
    return subprocess.run(given, cwd=folder, capture_output=True, text=True, env=env, check=False)


def test_a_disk_that_is_really_full(tmpfs, tmp_path):
    """Exit code 1 and the way on; after room was made the command goes on to the same bytes."""
    ended = command(tmp_path, tmpfs / "r")
    assert ended.returncode == 1, ended.stderr
    assert re.search(r"failed: .*No space left on device[\s\S]*make room and run", ended.stderr)
    assert "Traceback" not in ended.stderr
    remount(tmpfs, "size=200m")
    assert command(tmp_path, tmpfs / "r").returncode == 0
    assert command(tmp_path, tmp_path / "whole").returncode == 0

    assert content(tmpfs / "r") == content(tmp_path / "whole")


def test_a_directory_that_is_really_read_only(tmpfs, tmp_path):
    """Exit code 2 before anything is loaded; a directory that was begun is as it was."""
    remount(tmpfs, "size=200m")
    remount(tmpfs, "ro")
    ended = command(tmp_path, tmpfs / "r")
    assert ended.returncode == 2
    assert "cannot write into" in ended.stderr
    assert "Read-only file system" in ended.stderr

    remount(tmpfs, "rw")
    assert list(tmpfs.iterdir()) == []


def test_files_that_may_not_grow_are_a_full_disk(tmp_path):
    """A limit of file sizes, which the system keeps, is answered in the same way."""
    if shutil.which("prlimit") is None:
        pytest.skip("this system has no prlimit")
    ended = command(tmp_path, tmp_path / "r", "prlimit", "--fsize=20000")

    assert ended.returncode == 1
    assert re.search(r"failed: .*File too large[\s\S]*make room and run", ended.stderr)


def test_a_loss_that_is_no_number_is_mended_and_the_run_goes_on(tmp_path, whole):
    """To the same bytes, as nothing of the bad step was kept."""
    with pytest.MonkeyPatch.context() as patch:
        faults.spoiled(patch, 3, faults.not_a_number)
        with pytest.raises(NonFiniteLossError):
            small(tmp_path / "r")
    small(tmp_path / "r")

    assert content(tmp_path / "r") == whole


def test_data_that_raise_in_the_middle(tmp_path, whole):
    """The error keeps its type, and a note says where the run stands."""
    with pytest.MonkeyPatch.context() as patch:
        patched(patch, "continual.training.step._cost", 3, lambda: KeyError("row 7"))
        with pytest.raises(KeyError) as raised:
            small(tmp_path / "r")
    small(tmp_path / "r")

    assert "saved up to step 2 of experience 1 of 1 (weather)" in raised.value.__notes__[0]
    assert content(tmp_path / "r") == whole


def test_pictures_that_cannot_be_read_any_more(tmp_path, monkeypatch):
    """Where they are decoded batch by batch; the same call leaves the bytes of an untouched run."""
    monkeypatch.setattr("continual.backbone.vision.KEPT_BYTES", 0)
    settings = {"train": {"batch_size": 8, "max_steps": 4, "checkpoint_steps": 2}}

    def learn(name: str) -> None:
        run(load_scenario("split-digits")[:1], "lora", out=tmp_path / name, settings=settings)

    learn("whole")
    read, seen = EncodedImages._pixels, []

    def gone(self, image, name):
        seen.append(not torch.is_inference_mode_enabled())
        if sum(seen) == 3 * 8 + 5:  # in the fourth step
            raise OSError("the disk of the pictures is gone")
        return read(self, image, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EncodedImages, "_pixels", gone)
        with pytest.raises(OSError, match="gone") as raised:
            learn("r")
    learn("r")

    assert "saved up to step 2 of experience 1 of 1 (digits-1)" in raised.value.__notes__[0]
    assert content(tmp_path / "r") == content(tmp_path / "whole")


def test_memory_that_ran_out_before_a_kill_is_remembered(tmp_path):
    """Killed after a halving and continued with more memory, it keeps the smaller micro-batch."""
    settings = {**QUICK, "train": {**QUICK["train"], "micro_batch_size": 4}}
    small(tmp_path / "four", settings=settings)
    with pytest.MonkeyPatch.context() as patch:
        faults.out_of_memory(patch, 4)
        with pytest.raises(CrashError):
            small(tmp_path / "r", reporter=CrashAt(7))
    record = small(tmp_path / "r")

    assert [e["micro_batch_size"] for e in record.events() if "micro_batch_size" in e] == [4]
    name = "adapters/after-00/adapter_model.safetensors"
    assert content(tmp_path / "r")[name] == content(tmp_path / "four")[name]


def test_a_clock_that_jumps_changes_no_result_and_costs_nothing_negative(
    tmp_path, whole, monkeypatch
):
    """Back a year, forward a year, standing still."""
    jumps = iter(range(10**6))

    def wild() -> float:
        return (0.0, -3e7, 3e7, 5.0)[next(jumps) % 4]

    for name in ("time", "perf_counter"):
        monkeypatch.setattr(time, name, wild)
    monkeypatch.setattr("continual.runs.carrying_out.Meter", partial(Meter, clock=wild))
    record = small(tmp_path / "r")
    costs = [v for e in record.events() for name, v in e.items() if "seconds" in name]

    assert costs
    assert min(costs) >= 0
    assert content(tmp_path / "r") == whole


def changed(**task):
    """The small scenario with something else in its first task."""
    scenario = small_scenario(2)
    return replace(scenario, tasks=(replace(scenario.tasks[0], **task), scenario.tasks[1]))


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (changed(prompt="Say: {text}\nIt is"), r"asked\.weather\.prompt: '.*' \(there\) -> 'Say: "),
        (changed(verbalizers=("chilly", "hot")), r"asked\.weather\.answers: \['cold', 'warm'\]"),
        (changed(score="exact_match"), r"tasks\.weather\.score: 'accuracy' \(there\)"),
        (changed(name="climate"), r"tasks: .*'weather'.* \(there\) -> .*'climate'"),
        (small_scenario(3), r"tasks: .* -> .*'music'"),
        (small_scenario(2, train=22), r"data\.food: "),
        (small_scenario(2, setting="class-incremental"), r"setting: 'task-incremental' \(there\)"),
    ],
)
def test_a_scenario_that_changes_under_a_run_is_refused_by_name(tmp_path, other, named):
    """The message names what changed; the run is not touched and goes on with the old one."""
    folder = tmp_path / "r"
    with pytest.raises(CrashError):
        run(small_scenario(2), "lora", out=folder, settings=QUICK, reporter=CrashAt(9))
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    with pytest.raises(InputError, match=named):
        run(other, "lora", out=folder, settings=QUICK)

    assert {path: path.read_bytes() for path in before} == before
    assert run(small_scenario(2), "lora", out=folder, settings=QUICK).complete


def test_a_directory_from_before_prompts_were_recorded_goes_on(tmp_path):
    """environment.json has no `asked`: nothing is compared with it."""
    folder = tmp_path / "r"
    with pytest.raises(CrashError):
        small(folder, reporter=CrashAt(7))
    path = folder / "environment.json"
    text = path.read_text()
    path.write_text(re.sub(r'  "asked": \{.*?\n  \},\n', "", text, flags=re.DOTALL))
    (folder / "checksums.json").unlink()  # nor had those versions checksums

    assert '"asked"' in text
    assert '"asked"' not in path.read_text()
    assert small(folder).complete


# What the page quotes: by the name of a fault, what a run says of it.


def _killed(folder: Path, patch: pytest.MonkeyPatch) -> str:
    with pytest.raises(CrashError):
        small(folder, reporter=CrashAt(6))
    notes = Notes()
    small(folder, notes)
    return notes.said[0]


def _signalled(folder: Path, patch: pytest.MonkeyPatch, *, kind: str, n: int) -> str:
    with pytest.raises(StoppedError) as stopped:
        small(folder, reporter=StopAt(n, kind))
    return str(stopped.value)


def _broken(
    folder: Path,
    patch: pytest.MonkeyPatch,
    *,
    where: str,
    n: int,
    error: Callable[[], BaseException],
) -> str:
    patched(patch, where, n, error)
    return words_of(folder)


def _not_finite(folder: Path, patch: pytest.MonkeyPatch) -> str:
    faults.spoiled(patch, 3, faults.not_a_number)
    return words_of(folder)


def _scarce(folder: Path, patch: pytest.MonkeyPatch, *, most: int, training: bool) -> str:
    faults.out_of_memory(patch, most, training=training)
    if most == 0:
        return words_of(folder)
    notes = Notes()
    small(folder, notes)
    return "\n".join(notes.said)


def _clock(folder: Path, patch: pytest.MonkeyPatch) -> str:
    return "nothing"  # see the test above


def _rewritten(folder: Path, patch: pytest.MonkeyPatch) -> str:
    scenario = small_scenario(1)
    with pytest.raises(CrashError):
        small(folder, reporter=CrashAt(7))
    other = replace(scenario, tasks=(replace(scenario.tasks[0], prompt="{text}:"),))
    with pytest.raises(InputError) as refused:
        run(other, "lora", out=folder, settings=QUICK)
    return str(refused.value)


PROVOKED: dict[str, Callable[[Path, pytest.MonkeyPatch], str]] = {
    "killed: `kill -9`, a crash, the power": _killed,
    "SIGTERM or Ctrl-C while it learns": partial(_signalled, kind="learning", n=2),
    "SIGTERM or Ctrl-C while it evaluates": partial(_signalled, kind="evaluating", n=3),
    "two processes on one directory": lambda folder, patch: faults.in_use(folder),
    "full disk": partial(_broken, where=SAVE, n=3, error=faults.full(SAVE)),
    "read-only directory, from the start": partial(
        _broken, where="continual.records.lock.write_json_atomic", n=1, error=faults.read_only
    ),
    "read-only directory, while it runs": partial(
        _broken, where="continual.trackers.ledger.write_scores", n=2, error=faults.read_only
    ),
    "data that cannot be read any more": partial(
        _broken, where="continual.training.step._cost", n=3, error=lambda: OSError("gone")
    ),
    "a loss that is not a number": _not_finite,
    "out of memory in a training step": partial(_scarce, most=4, training=True),
    "not even one example fits": partial(_scarce, most=0, training=True),
    "out of memory in evaluation": partial(_scarce, most=4, training=False),
    "a clock that jumps": _clock,
    "a scenario file that changes under a run": _rewritten,
}


def rows() -> dict[str, str]:
    """Return what the page says of every fault: the third column of its table."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]
    return {row[0]: row[2] for row in cells}


def test_every_fault_of_the_page_is_provoked():
    """And every one that is provoked is on the page."""
    assert rows().keys() == PROVOKED.keys()


@pytest.mark.parametrize("fault", PROVOKED)
def test_the_page_quotes_what_is_said(tmp_path, monkeypatch, fault):
    """Word for word; … stands for what differs from run to run."""
    said = PROVOKED[fault](tmp_path / "r", monkeypatch)
    quotes = re.findall(r"`([^`]+)`", rows()[fault]) or ["nothing"]

    for quote in quotes:
        pattern = ".*".join(re.escape(part) for part in quote.split("…"))
        assert re.search(pattern, said), said


def test_the_record_of_a_run_that_ended_opens(tmp_path):
    """Reports may read it at any time."""
    with pytest.raises(StoppedError):
        small(tmp_path / "r", reporter=StopAt(2, "learning"))

    assert not RunRecord.open(tmp_path / "r").complete
