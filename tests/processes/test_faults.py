"""Processes that end together, whatever becomes of one of them."""

import shutil
import signal
import time

import pytest
import torch
from typer.testing import CliRunner

from continual.cli import app
from continual.errors import InputError, OtherProcessError
from continual.processes import ALONE, Processes, launched, together
from continual.processes.joining import NEEDED
from continual.records import RunRecord
from continual.runs import assemble
from continual.runs.assemble import run
from continual.runs.progress import SilentReporter as Silent
from continual.runs.settings import resolve
from continual.runs.sharding import device_of
from tests.processes.launching import events_in, launch, start, write_scenario
from tests.runs.test_run import content
from tests.sequences import QUICK, small_scenario

COMMAND = ("run", "s.yaml", "--method", "nlora", "--set", "rehearsal.size=4", "--out")


@pytest.mark.slow
def test_when_one_process_is_killed_the_others_end_and_the_same_command_continues(tmp_path):
    """Kill -9 of one rank, twice: nobody hangs, and what is left at the end are the same bytes."""
    write_scenario(tmp_path)
    whole = launch("accelerate", "continual", *COMMAND, "whole", cwd=tmp_path)
    events = events_in(tmp_path / "whole")
    for killed, part in ((1, 0.3), (0, 0.6)):
        both = start("continual", *COMMAND, "torn", cwd=tmp_path)
        while events_in(tmp_path / "torn") < events * part and both[0].poll() is None:
            time.sleep(0.01)
        both[killed].kill()
        said = both[1 - killed].communicate(timeout=120)[1]

        assert both[killed].wait() == -signal.SIGKILL
        assert both[1 - killed].returncode == 1
        assert "failed: another process of this run has ended without a word" in said
        assert "What the exchange said: [" in said
        assert "torn: It is saved up to" in said
        assert "Traceback" not in said
    finished = launch("torchrun", "continual", *COMMAND, "torn", cwd=tmp_path)

    assert whole.returncode == 0, whole.stderr
    assert finished.returncode == 0, finished.stderr
    assert "continuing at experience" in finished.stderr
    assert finished.stdout.count("Retained accuracy R of nlora") == 1
    assert content(tmp_path / "torn") == content(tmp_path / "whole")


PROGRAM = """
import sys, torch
from continual.adapters import attach
from continual.cli import app
from continual.errors import InputError, OtherProcessError
from continual.processes import together
from continual.runs.follower import check_replicas
from continual.training.checkpoint import Checkpoint, Position

with together() as processes:
    if sys.argv[1] == "input":
        if processes.rank == 1:
            raise InputError("the cat is on the keyboard.")
        processes.wait()
    if sys.argv[1] == "replicas":
        numbers = {"a": torch.full((2,), 1.0 + 1e-6 * processes.rank)}
        at = Position(experience=3, step=4, phase="training")
        check_replicas(Checkpoint(position=at, tensors=numbers, facts={}), processes)
    if sys.argv[1] == "different":
        processes.check_same("the runs", ["nlora", "lora"][processes.rank], "Give one command.")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("input", ["OtherProcessError: process 1: the cat", "InputError: the cat is on"]),
        ("replicas", ["process 1 has come to other numbers than process 0 at experience 3"] * 2),
        (
            "different",
            ['the runs of process 0 and of process 1 differ: "nlora" and "lora". Give'] * 2,
        ),
    ],
)
def test_an_error_of_one_process_is_told_to_all(tmp_path, what, said):
    """The first to fail says it as its own; the others say whose it was, and nobody waits."""
    (tmp_path / "program.py").write_text(PROGRAM)
    both = start("program", what, cwd=tmp_path)
    errors = [one.communicate(timeout=120)[1] for one in both]

    assert all(one.returncode == 1 for one in both)
    for error, text in zip(errors, said, strict=True):
        assert text in error
    assert sum("OtherProcessError" in error.splitlines()[-1] for error in errors) == 1


class Two(Processes):
    """Two processes that were given different things."""

    def gather(self, value):
        return [value, {**value, "seed": 1}]


def test_of_long_values_what_differs_is_shown():
    """Beginnings that are the same say nothing."""
    value = {"path": "a" * 300, "seed": 0, "rest": "b" * 300}
    with pytest.raises(InputError) as refused:
        Two(count=2).check_same("the runs", value, "Give one command.")
    said = str(refused.value)

    assert '"seed": 0' in said
    assert '"seed": 1' in said
    assert said.count("... ") == 4
    assert len(said) < 600


def test_memory_that_runs_out_in_an_exchange_is_no_lost_process(monkeypatch):
    """It keeps its own words."""

    def full(tensor):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("torch.distributed.all_reduce", full)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        Processes(count=2).add_up(torch.ones(2))


def test_who_shares_a_machines_gpus_must_be_known():
    """Else all would take the first one."""
    with pytest.raises(InputError, match=r"2 processes needs LOCAL_RANK .* under srun it is"):
        device_of("cuda", Processes(rank=1, count=2, local=None))

    assert device_of("cpu", Processes(rank=1, count=2, local=None)) == "cpu"


def test_without_a_launcher_there_is_one_process_and_nothing_is_asked(monkeypatch):
    """Nothing is joined, gathered, copied or waited for."""
    monkeypatch.delenv("RANK", raising=False)
    with together() as found:
        value = object()

        assert found is ALONE
        assert found.gather(value)[0] is value
        assert launched() == 1


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize(
    ("verb", "what"),
    [
        ("study pydocs --methods lora --out OUT", "a study"),
        ("fork OUT --after 0 --method lora --out OUT", "a fork"),
        ("search pydocs --method lora --space train.lr=1,2 --out OUT", "a search"),
    ],
)
def test_what_processes_cannot_share_is_refused_once(tmp_path, monkeypatch, rank, verb, what):
    """The first says it; the others end without a word; nothing is written."""
    for name, value in zip(NEEDED, (rank, "2", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    words = verb.replace("OUT", str(tmp_path / "out")).split()
    found = CliRunner().invoke(app, words).exception

    assert f"{what} cannot be shared by the 2 processes" in str(found) or rank == "1"
    assert type(found) is (InputError if rank == "0" else OtherProcessError)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished run, which no test may change."""
    folder = tmp_path_factory.mktemp("finished") / "r"
    run(small_scenario(1), "lora", out=folder, settings=QUICK)
    return folder


@pytest.mark.parametrize(
    ("shard", "said"),
    [
        (False, "can be made anew, by one process: run the same command without a launcher"),
        (True, "a run with backbone.shard cannot make it anew. Restore it from a copy"),
    ],
)
def test_a_damaged_adapter_is_refused_by_several_with_advice_that_works(
    tmp_path, monkeypatch, finished, shard, said
):
    """One process makes it anew, where the backbone fits it."""
    shutil.copytree(finished, tmp_path / "r")
    next((tmp_path / "r" / "adapters" / "after-00").glob("*.safetensors")).write_bytes(b"")
    monkeypatch.setattr(assemble, "load_parts", lambda *given: None)
    settings = {**QUICK, "backbone": {"shard": shard}}
    config, options = resolve(small_scenario(1), "lora", backbone=None, seed=0, settings=settings)
    with pytest.raises(InputError, match=said):
        assemble._load(
            small_scenario(1), config, options, tmp_path / "r", Silent(), Processes(count=2)
        )


@pytest.mark.slow
def test_a_missing_end_is_written_anew_by_several(tmp_path):
    """It needs nothing that one process would do better."""
    for _ in range(2):
        both = start("tests.processes.trouble", "none", "r", cwd=tmp_path)
        said = [one.communicate(timeout=100)[1] for one in both]

        assert [one.returncode for one in both] == [0, 0], said
        assert RunRecord.open(tmp_path / "r").complete
        (tmp_path / "r" / "COMPLETE").unlink()
