"""Ctrl-C and SIGTERM: a run saves what it has, says where it stands, and goes on exactly."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from continual.errors import StoppedError
from continual.records import RunRecord
from continual.runs.assemble import run
from continual.runs.progress import SilentReporter
from continual.runs.signals import stoppable
from continual.training.checkpoint import load_checkpoint
from continual.training.stopping import Halt
from tests.runs.test_run import content
from tests.sequences import QUICK, small_scenario, write_scenario
from tests.suites import slow_or_soak


@pytest.fixture(autouse=True)
def _not_in_the_background():
    """A shell ignores SIGINT for what it runs in the background, and that is inherited."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class StopAt(SilentReporter):
    """Sends a signal to its own process at the n-th thing of a kind that it reports."""

    def __init__(self, n: int, kind: str = "", number: int = signal.SIGTERM) -> None:
        self.left, self.kind, self.number = n, kind, number

    def step(self, what: str, done: int, total: int) -> None:
        self.left -= self.kind in what
        if self.left == 0:
            signal.raise_signal(self.number)


def position(folder):
    """Where the newest checkpoint stands, and what its step still owes."""
    found, _ = load_checkpoint(folder / "checkpoints")
    at = found.position
    return at.experience, at.step, at.phase, found.facts.get("owed", [])


CONFIGURATIONS = [
    ("curlora", {}, {}),
    ("slora", {}, {"lwf": {"lam": 1.0}}),
    ("peft:lora", {"micro_batch_size": 3}, {"method": {"lora_dropout": 0.2}}),
    ("inclora", {"early_stop": 1, "epochs": 3}, {}),
    ("nlora", {}, {"rehearsal": {"size": 10}, "ewc": {"lam": 5.0, "fisher": "weights"}}),
    ("droplora", {"micro_batch_size": 3}, {}),
    ("lora", {"early_stop": 1, "epochs": 2}, {"evaluation": {**QUICK["evaluation"], "steps": 1}}),
    ("glora", {}, {"method": {"supernet": True, "population": 2, "generations": 1}}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "extra", "beside"), CONFIGURATIONS)
def test_stopped_and_continued_it_leaves_the_same_bytes(tmp_path, method, extra, beside):
    """Wherever the signal comes: loading, before a step, in evaluation, in a search."""
    settings = {**QUICK, "train": {**QUICK["train"], "checkpoint_steps": 50, **extra}, **beside}
    scenario = small_scenario(2)
    run(scenario, method, out=tmp_path / "whole", settings=settings)
    stops = 0
    for n in (2, 5, 7, 8, 9, 6, 8, 10, 9, 7, 11, 12):
        try:
            run(scenario, method, out=tmp_path / "torn", settings=settings, reporter=StopAt(n))
            break
        except StoppedError:
            stops += 1
    run(scenario, method, out=tmp_path / "torn", settings=settings)

    assert stops >= 4
    assert content(tmp_path / "torn") == content(tmp_path / "whole")


def test_the_step_under_way_is_finished_and_saved(tmp_path):
    """The message says where the run stands; handlers are as they were."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    settings = QUICK | {"train": {"batch_size": 8, "checkpoint_steps": 50}}
    with pytest.raises(StoppedError) as stopped:
        run(
            small_scenario(1),
            "lora",
            out=tmp_path / "r",
            settings=settings,
            reporter=StopAt(2, "learning", signal.SIGINT),
        )

    assert stopped.value.signal == signal.SIGINT
    assert stopped.value.status == 130
    assert str(stopped.value) == (
        f"{tmp_path / 'r'}: stopped by SIGINT. It is saved up to step 2 of experience 1 of 1 "
        "(weather)."
    )
    assert position(tmp_path / "r") == (0, 2, "training", [])
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.slow
def test_what_a_step_still_owes_is_done_by_the_run_that_goes_on(tmp_path):
    """Stopped before validation and evaluation within, it makes both, and both once."""
    evaluation = {**QUICK["evaluation"], "steps": 3}
    train = {"batch_size": 8, "epochs": 2, "early_stop": 1, "checkpoint_steps": 50, "log_steps": 1}
    settings = {"train": train, "evaluation": evaluation}
    folder = tmp_path / "r"
    with pytest.raises(StoppedError):
        run(
            small_scenario(2),
            "lora",
            out=folder,
            settings=settings,
            reporter=StopAt(9, "learning"),
        )
    assert position(folder) == (1, 3, "training", ["validation", "within"])
    record = run(small_scenario(2), "lora", out=folder, settings=settings)

    verdicts = [(e["experience"], e["step"]) for e in record.events() if "validation_nats" in e]
    assert len(record.curve("weather")) == 4  # before, after 0, within 1, after 1
    assert len(verdicts) == len(set(verdicts)) == 4


@pytest.mark.slow
def test_evaluation_is_left_at_once(tmp_path):
    """What it has scored is scored again; the training before it is saved."""
    with pytest.raises(StoppedError, match=r"saved up to the end of training on experience 1 of 1"):
        run(
            small_scenario(1),
            "lora",
            out=tmp_path / "r",
            settings=QUICK,
            reporter=StopAt(3, "evaluating"),
        )

    assert position(tmp_path / "r") == (0, 3, "trained", [])
    assert RunRecord.open(tmp_path / "r").matrix().shape == (1, 1)


def test_stopped_while_it_loads_it_has_written_nothing(tmp_path):
    """Not even the directory."""
    with pytest.raises(StoppedError, match="still loading and has changed nothing"):
        run(small_scenario(1), "lora", out=tmp_path / "a" / "r", reporter=StopAt(1, "loading"))

    assert list(tmp_path.iterdir()) == []


def test_the_second_signal_stops_at_once():
    """As it would without us."""
    halt = Halt()
    with stoppable(halt), halt.hold():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        halt.asked = halt.signal = None


def test_a_signal_that_is_ignored_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stoppable(Halt()):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_install_no_handler():
    """Python allows it in the main thread only; a run in another one works as ever."""
    found = []

    def work() -> None:
        with stoppable(Halt()):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert found == [signal.getsignal(signal.SIGTERM)]


def wait_for(process, path) -> None:
    while process.poll() is None and not path.exists():
        time.sleep(0.02)


STUDY = ["study", "written.yaml", "--methods", "lora,curlora", "--quiet"]


@pytest.mark.parametrize("jobs", slow_or_soak(["1", "2"], ["2"]))
def test_a_study_stops_all_its_runs_and_goes_on(tmp_path, jobs):
    """SIGTERM to the study alone; exit code 143, one message with the command, every run usable."""
    write_scenario(tmp_path)
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*STUDY, "--jobs", jobs, "--out", "s"]
    start = [sys.executable, "-m", "continual.cli", *command]
    process = subprocess.Popen(start, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=env)
    wait_for(process, tmp_path / "s" / "lora-seed0" / "checkpoints" / "000001")
    process.send_signal(signal.SIGTERM)
    words = process.communicate()[1]

    assert process.returncode == 143
    assert "stopped by SIGTERM" in words
    assert f"To go on: continual {' '.join(command)}" in words
    again = subprocess.run(start, cwd=tmp_path, capture_output=True, text=True, env=env, check=True)
    assert "report:" in again.stdout
    assert all(RunRecord.open(tmp_path / "s" / n).complete for n in ("lora-seed0", "curlora-seed0"))
