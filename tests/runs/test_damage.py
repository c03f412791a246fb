"""Truncated, bit-flipped and missing files: never a traceback, never silently other numbers."""

import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import continual
from continual.cli import app
from continual.errors import InputError
from continual.records import DamagedFileError, RunRecord
from continual.records.paths import CHECKSUMS, LOCK
from continual.reports import write_report
from continual.runs.assemble import run
from continual.runs.damage import lost_with, way_on
from continual.scenario import Probe, RowsSource
from continual.training.checkpoint import DamagedRunError
from tests.killing import content
from tests.runs.test_run import CrashAt, CrashError
from tests.sequences import QUICK, small_scenario

CLEAR = (InputError, DamagedFileError, DamagedRunError)
KINDS = ("truncated", "flipped", "missing")
NOT_NAMED = {  # what is no damage, and why
    ("COMPLETE", "truncated"): "it is empty",
    ("COMPLETE", "flipped"): "it is empty",
}


def scenario():
    probe = Probe(name="text", source=RowsSource(rows=[{"text": "a word in time " * 20}]))
    return small_scenario(2, probes=(probe,))


def go(folder):
    return run(scenario(), "inclora", out=folder, settings=QUICK)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished run, which no test may change."""
    folder = tmp_path_factory.mktemp("damage") / "finished"
    go(folder)
    return folder


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """Return a run that was interrupted in its second experience."""
    folder = tmp_path_factory.mktemp("damage") / "unfinished"
    with pytest.raises(CrashError):
        run(scenario(), "inclora", out=folder, settings=QUICK, reporter=CrashAt(14))
    assert (folder / "adapters/after-00").exists()
    return folder


def files_of(folder) -> list[str]:
    """Return the files of a run; its lock holds nothing, and only some systems leave it behind."""
    paths = [path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file()]
    return [str(path) for path in paths if path.name != LOCK]


def damage(path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "missing":
        path.unlink()
    elif kind == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif data:
        draw = random.Random(str(path.name))
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)


def survey(folder, tmp_path, whole) -> list[str]:
    """Damage every file in every way; return what went wrong."""
    wrong = []
    for name in files_of(folder):
        for kind in KINDS:
            if (name, kind) in NOT_NAMED:
                continue
            hurt = tmp_path / "hurt"
            shutil.rmtree(hurt, ignore_errors=True)
            shutil.copytree(folder, hurt)
            damage(hurt / name, kind)
            wrong += [
                f"{name} {kind}: {what}" for what in (*_named(hurt, name), *_run(hurt, whole))
            ]
    return wrong


def _named(hurt, name):
    """Yield where verify does not name a file, or a reader says something else."""
    found = continual.verify(hurt)
    named = [one for one in found.findings if one.state in ("damaged", "missing")]
    if found.whole or not any(name.startswith(one.file) for one in named):
        yield f"verify does not name it: {[one for one in found.findings if one.state != 'whole']}"
    if any(not one.lost or not one.way for one in named):
        yield "verify does not say what is lost, or the way on"


def _run(hurt, whole):
    """Yield where the run neither goes on to the same bytes nor refuses clearly."""
    try:
        go(hurt)
    except CLEAR as error:
        if "\n  File" in str(error) or str(hurt) not in str(error):
            yield f"unclear refusal: {error}"
        return
    if content(hurt) != whole:
        yield "other bytes"


@pytest.mark.slow
@pytest.mark.parametrize("state", ["finished", "unfinished"])
def test_every_file_in_every_way(tmp_path, finished, request, state):
    """Each is named; the run goes on to the same bytes or says what is lost and the way on."""
    folder = request.getfixturevalue(state)

    assert survey(folder, tmp_path, content(finished)) == []


@pytest.mark.slow
def test_readers_give_the_same_numbers_or_refuse(tmp_path, finished):
    """Records and reports never show what was not written."""
    truth = RunRecord.open(finished)
    for name in files_of(finished):
        for kind in KINDS:
            hurt = tmp_path / "hurt"
            shutil.rmtree(hurt, ignore_errors=True)
            shutil.copytree(finished, hurt)
            damage(hurt / name, kind)
            try:
                record = RunRecord.open(hurt)
                assert (record.matrix() == truth.matrix()).all(), (name, kind)
                assert record.config == truth.config, (name, kind)
                assert record.examples() in (truth.examples(), ()), (name, kind)
                write_report([hurt], tmp_path / "page.html")
            except CLEAR as error:
                refused = str(error)
                assert str(hurt) in refused, (name, kind)


def test_a_whole_run_is_verified(finished, unfinished):
    """Finished or interrupted, nothing is wrong with it, and R follows from its examples."""
    for folder in (finished, unfinished):
        found = continual.verify(folder)

        assert found.whole, [one for one in found.findings if one.state != "whole"]
        assert found.recomputed >= 8
    R = RunRecord.open(finished).matrix()
    assert found.R[(0, "weather")] == R[0, 0]
    assert CliRunner().invoke(app, ["verify", str(finished)]).exit_code == 0


def test_a_changed_score_is_found_though_its_checksum_was_changed_with_it(tmp_path, finished):
    """R is recomputed from the examples, so a consistent forgery of scores.parquet shows."""
    import dataclasses

    from continual.records import write_scores
    from continual.records.checksums import settle

    shutil.copytree(finished, tmp_path / "r")
    rows = list(RunRecord.open(finished).score_rows)
    k = next(k for k, row in enumerate(rows) if row.metric == "accuracy" and row.experience == 1)
    rows[k] = dataclasses.replace(rows[k], value=rows[k].value - 0.125)
    write_scores(tmp_path / "r", rows)
    settle(tmp_path / "r")
    found = continual.verify(tmp_path / "r")
    told = CliRunner().invoke(app, ["verify", str(tmp_path / "r")])

    assert [(one.file, one.state) for one in found.findings if one.state != "whole"] == [
        ("scores.parquet", "different")
    ]
    assert told.exit_code == 1
    assert f"accuracy of {rows[k].task} after experience 1" in told.output


def test_an_old_run_without_checksums_says_what_could_not_be_checked(tmp_path, finished):
    """It is not called damaged: R is recomputed, and the rest is named as unchecked."""
    shutil.copytree(finished, tmp_path / "r")
    (tmp_path / "r" / CHECKSUMS).unlink()
    shutil.rmtree(tmp_path / "r" / "checkpoints")
    found = continual.verify(tmp_path / "r")
    states = {one.file: one.state for one in found.findings}

    assert found.whole
    assert found.recomputed >= 8
    assert states["scores.parquet"] == states[CHECKSUMS] == "unchecked"


def test_a_foreign_file_is_named_and_changes_nothing(tmp_path, finished):
    """Unexpected files make the directory not whole; the run is still readable."""
    shutil.copytree(finished, tmp_path / "r")
    (tmp_path / "r" / "thesis.tex").write_text("precious")
    found = continual.verify(tmp_path / "r")

    assert [(one.file, one.state) for one in found.findings if one.state != "whole"] == [
        ("thesis.tex", "unexpected")
    ]
    assert RunRecord.open(tmp_path / "r").complete


def test_damaged_adapters_are_made_anew_from_the_states_that_are_kept(tmp_path, finished):
    """The same command again writes the same bytes."""
    shutil.copytree(finished, tmp_path / "r")
    damage(tmp_path / "r/adapters/after-00/adapter_model.safetensors", "flipped")
    damage(tmp_path / "r/adapters/after-01/README.md", "missing")
    ways = {one.way for one in continual.verify(tmp_path / "r").findings if one.lost}
    go(tmp_path / "r")

    assert ways == {"Give the same command again: it is made anew from the state that is kept."}
    assert content(tmp_path / "r") == content(finished)
    assert continual.verify(tmp_path / "r").whole


@pytest.mark.slow
def test_the_command_refuses_without_a_traceback(tmp_path, finished):
    """A bad path is exit code 2, damage is 1; both are one message."""
    command = [sys.executable, "-m", "continual.cli", "verify"]
    nowhere = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)

    assert nowhere.returncode == 2
    assert "is not a run directory" in nowhere.stderr
    assert "Traceback" not in nowhere.stderr


def test_the_page_about_damage_quotes_what_is_really_said(tmp_path, finished):
    """File by file: what is lost and the way on; and the whole message of one refusal."""
    page = (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \|$", page, flags=re.MULTILINE)
    (quoted,) = re.findall(r"^failed: runs/mine/(.+)$", page, flags=re.MULTILINE)
    shutil.copytree(finished, tmp_path / "r")
    damage(tmp_path / "r" / "scores.parquet", "flipped")
    with pytest.raises(DamagedFileError) as refused:
        go(tmp_path / "r")

    assert len(rows) == 9
    for name, lost, way in rows:
        assert (lost, way) == (lost_with(name), way_on(finished, name)), name
    assert str(refused.value) == f"{tmp_path / 'r'}/{quoted}"
