"""What steps cost is read when somebody wants to know it, and nothing bad is ever saved."""

import math
from dataclasses import replace

import pytest
import torch

from continual.training.lesson import prepare
from continual.training.loop import begin, learn
from continual.training.losses import TERMS, Losses, StepCost
from continual.training.non_finite import NonFiniteLossError
from tests.sequences import small_scenario
from tests.training.learners import learner


@pytest.fixture
def waits(monkeypatch):
    """Let every tensor be on a device whose numbers one has to wait for."""
    monkeypatch.setattr("continual.training.losses.reading_waits", lambda numbers: True)


@pytest.fixture(scope="module")
def portions():
    """What the first step of a small sequence learns from: eight examples."""
    parts = learner()
    begin(parts, parts.scenario[0])
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[0], 0
    )
    return course.portions(0)


def cost(portions, step: int, *terms: float) -> StepCost:
    terms = torch.tensor([*terms, *[0.0] * (len(TERMS) - len(terms))], dtype=torch.float64)
    return StepCost(experience=1, step=step, portions=portions, terms=terms)


def test_here_every_step_is_read_before_its_update(portions):
    """There is nothing to wait for, so a bad step is known at once."""
    losses = Losses()
    losses.add(cost(portions, 0, 2.0, 0.5))

    assert losses.read() == {"loss": 2.0, "penalty": 0.5, "ewc": 0.0, "lwf": 0.0}
    with pytest.raises(NonFiniteLossError, match=r"'weather' \(experience 1\) at step 1: loss nan"):
        losses.add(cost(portions, 1, math.nan))


def test_elsewhere_the_first_bad_step_is_found_when_they_are_read(waits, portions):
    """Not the last one, and once."""
    losses = Losses()
    for step, loss in enumerate([1.0, math.inf, math.nan, 1.0]):
        losses.add(cost(portions, step, loss))

    with pytest.raises(NonFiniteLossError, match=r"at step 1: loss inf, .*has 8 examples"):
        losses.read()
    assert losses.waiting == []


def run_of(monkeypatch, late: bool, **train: object):
    """Learn two experiences; return what was logged, and the numbers at the end."""
    monkeypatch.setattr("continual.training.losses.reading_waits", lambda numbers: late)
    logged = []
    parts = replace(learner("nlora", micro_batch_size=3, **train), log=logged.append)
    list(learn(parts))
    return logged, parts.adaptation.state()


def test_reading_late_changes_no_number(monkeypatch):
    """The same events and the same adapter, to the last bit."""
    (events, state), (late_events, late_state) = (
        run_of(monkeypatch, late, log_steps=2, epochs=2) for late in (False, True)
    )

    assert events == late_events
    assert all(torch.equal(state[name], late_state[name]) for name in state)


def spoil(monkeypatch, which: int) -> None:
    """Let the loss of some pass, counted from 1, be no number."""
    from continual.training import step

    calls, original = [], step._cost

    def spoiled(*args):
        calls.append(args)
        loss, extra, count = original(*args)
        return (loss * math.nan if len(calls) == which else loss), extra, count

    monkeypatch.setattr(step, "_cost", spoiled)


@pytest.mark.parametrize("when", [{"checkpoint_steps": 2}, {"log_steps": 2}, {"early_stop": 1}, {}])
def test_nothing_is_saved_or_logged_after_a_bad_step_that_was_not_read(monkeypatch, waits, when):
    """Whatever comes first, log, checkpoint, validation or the end, looks at it before."""
    saved, logged = [], []
    spoil(monkeypatch, 2)
    scenario = small_scenario(1, validation_fraction=0.25)
    seldom = {"epochs": 2, "log_steps": 100, "checkpoint_steps": 100}
    parts = learner(scenario=scenario, **{**seldom, **when})
    parts = replace(parts, save=saved.append, log=logged.append)

    with pytest.raises(NonFiniteLossError, match="at step 1: loss nan"):
        list(learn(parts))
    assert [one.position.experience for one in saved] == [-1]
    assert logged == []


@pytest.mark.parametrize("optimiser", ["lora-rite", "lora-pro"])
def test_an_update_that_fails_on_a_bad_loss_is_told_as_that_loss(monkeypatch, waits, optimiser):
    """Their decompositions refuse what is no number before anybody has read the loss."""
    spoil(monkeypatch, 2)
    saved = []
    parts = replace(learner(epochs=2, optimiser=optimiser, clip=None), save=saved.append)

    with pytest.raises(NonFiniteLossError, match="at step 1: loss nan"):
        list(learn(parts))
    assert len(saved) == 1


def test_an_update_that_fails_otherwise_keeps_its_words(monkeypatch, waits):
    """All losses were numbers."""

    def broken(*given):
        raise RuntimeError("the device is gone")

    monkeypatch.setattr("continual.training.step.clip_gradients", broken)
    with pytest.raises(RuntimeError, match="the device is gone"):
        list(learn(learner()))


@pytest.mark.parametrize(
    ("epochs", "every", "stop"), [(2, 100, False), (4, 2, False), (4, 100, True)]
)
def test_no_checkpoint_holds_an_update_that_has_spoiled_what_learns(
    monkeypatch, epochs, every, stop
):
    """The loss of its step is finite and its gradient is not; no loss came after it."""
    from continual.training import step

    calls, saved = [], []

    def exploding(adaptation, config):
        calls.append(config)
        for parameter in adaptation.trainable().values():
            parameter.grad.mul_(math.inf if len(calls) == 2 else 1.0)

    monkeypatch.setattr(step, "clip_gradients", exploding)
    parts = learner(
        scenario=small_scenario(1, train=8), epochs=epochs, checkpoint_steps=every, log_steps=100
    )
    parts = replace(parts, save=saved.append)
    tick = (lambda *_: parts.halt.ask(15) if len(calls) == 2 else None) if stop else parts.tick

    with pytest.raises(NonFiniteLossError, match=r"after step 2 on task 'weather' .* is whole"):
        list(learn(replace(parts, tick=tick)))
    assert [one.position.step for one in saved] == [0]
