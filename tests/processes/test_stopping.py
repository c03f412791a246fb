"""Processes that are asked to stop, all of them or one."""

import signal
import time

import pytest

from continual.errors import StoppedError
from continual.processes import Processes
from continual.runs.signals import stoppable
from continual.training.stopping import Halt
from tests.processes.launching import events_in, launch, start, write_scenario
from tests.runs.test_run import content

TROUBLE = "tests.processes.trouble"
COMMAND = ("run", "s.yaml", "--method", "nlora", "--set", "rehearsal.size=4", "--out")
UNTRUE = ("without a word", "still loading", "Traceback")


def told_by(what: str, *more: str, cwd) -> list[str]:
    """Return what each of two processes says at the end of a troubled run."""
    both = start(TROUBLE, what, "r", *more, cwd=cwd)
    return [one.communicate(timeout=100)[1].strip() for one in both]


@pytest.mark.slow
def test_a_signal_to_any_of_them_ends_the_run_at_the_same_step(tmp_path):
    """SIGTERM to both, then to one: one says where it stands, and it continues exactly."""
    write_scenario(tmp_path)
    whole = launch("torchrun", "continual", *COMMAND, "whole", cwd=tmp_path)
    events = events_in(tmp_path / "whole")
    for asked, part in (((0, 1), 0.3), ((1,), 0.6)):
        both = start("continual", *COMMAND, "torn", cwd=tmp_path)
        while events_in(tmp_path / "torn") < events * part and both[0].poll() is None:
            time.sleep(0.01)
        for rank in asked:
            both[rank].send_signal(signal.SIGTERM)
        said = [one.communicate(timeout=120)[1] for one in both]

        assert 143 in [one.returncode for one in both]
        assert sum("torn: stopped by SIGTERM. It is saved up to" in text for text in said) == 1
        assert sum("To go on: continual run" in text for text in said) == 1
        assert not [text for text in said if any(words in text for words in UNTRUE)]
    finished = launch("torchrun", "continual", *COMMAND, "torn", cwd=tmp_path)

    assert whole.returncode == finished.returncode == 0, finished.stderr
    assert content(tmp_path / "torn") == content(tmp_path / "whole")


@pytest.mark.slow
def test_where_all_stop_at_a_step_the_first_says_so(tmp_path):
    """The one that was asked is process 0; the other has learned of it, and is silent."""
    assert told_by("none", "stop", cwd=tmp_path) == [
        "stopped: r: stopped by SIGTERM. It is saved up to step 4 of experience 1 of 1 (weather).",
        "silent",
    ]


@pytest.mark.slow
def test_a_process_that_is_stopped_while_it_evaluates_says_so_itself(tmp_path):
    """The others have no reason to think that it was killed."""
    words = (
        "r: stopped by SIGTERM. It is saved up to the end of training on experience 1 of 1 "
        "(weather), not evaluated yet."
    )
    said = told_by("evaluation", cwd=tmp_path)

    assert said[1] == f"stopped: {words}"
    assert said[0].startswith(f"OtherProcessError: process 1: {words}")


@pytest.mark.slow
def test_whoever_fails_first_says_what_is_saved(tmp_path):
    """A process that writes nothing knows it too."""
    said = told_by("broken", cwd=tmp_path)

    assert said[1].splitlines()[0] == "ValueError: the cat is on the keyboard."
    assert "r: It is saved up to step 4 of experience 1 of 1 (weather)." in said[1]
    assert "OtherProcessError: process 1: the cat is on the keyboard." in said[0]


class Both(Processes):
    """Two processes, of which the other was asked for ``other``."""

    def gather(self, value):
        return [self.other, value]


def halt_of(other: int | None) -> Halt:
    processes = Both(rank=1, count=2)
    object.__setattr__(processes, "other", other)
    return Halt(processes)


def test_a_signal_waits_for_the_next_agreement():
    """Until then the others do not know of it, so this one goes on with them."""
    halt = halt_of(None)
    halt.held = True
    halt.agree()
    halt.ask(signal.SIGTERM)
    halt.check()
    halt.agree()
    with pytest.raises(StoppedError) as stopped:
        halt.check()

    assert stopped.value.silent  # process 0 stops too and says it


def test_a_signal_in_the_middle_of_an_agreement_is_not_lost(monkeypatch):
    """It comes after this process has told what it was asked."""
    halt = halt_of(None)
    halt.held = True
    with monkeypatch.context() as patch:
        patch.setattr(Both, "gather", lambda *_: halt.ask(signal.SIGTERM) or [None, None])
        halt.agree()
    halt.check()
    halt.agree()
    with pytest.raises(StoppedError):
        halt.check()


def test_the_first_signal_is_no_second_one_where_another_process_had_one():
    """A launcher passes it on to each at its own time."""
    halt = halt_of(signal.SIGTERM)
    halt.held = True
    with stoppable(halt):
        halt.agree()
        signal.raise_signal(signal.SIGTERM)

    assert halt.asked == signal.SIGTERM


def test_a_signal_before_the_end_of_what_holds_is_heard_by_all_there():
    """Nobody leaves it alone."""
    with pytest.raises(StoppedError), halt_of(signal.SIGTERM).hold():
        pass
