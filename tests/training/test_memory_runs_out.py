"""Memory that runs out in a step: smaller micro-batches, the same batch, nothing of the attempt."""

from dataclasses import replace

import pytest
import torch

from continual.adapters import METHODS
from continual.errors import InputError
from continual.training.config import LwFConfig, TrainConfig
from continual.training.distillation import Teacher
from continual.training.lesson import prepare
from continual.training.loop import begin, learn
from continual.training.state import micro_batches
from continual.training.validation import Validation
from tests.sequences import small_scenario
from tests.suites import slow_or_soak
from tests.training.learners import learner

OUT_OF_MEMORY = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."


def scarce(parts, most: int) -> None:
    """Make a learner's backbone run out of memory where it learns from larger batches."""
    answers = parts.backbone.answers

    def limited(batch, *rest):
        found = answers(batch, *rest)
        if len(next(iter(batch.values()))) > most and not torch.is_inference_mode_enabled():
            raise RuntimeError(OUT_OF_MEMORY)
        return found

    parts.backbone.answers = limited


def no_memory(*given: object) -> None:
    raise MemoryError


def trained(method: str, micro: int, most: int | None, **more: object) -> tuple[dict, list, list]:
    """Train on two small tasks; return the state, what was logged and what was said."""
    events, notes = [], []
    parts = learner(method, scenario=small_scenario(2, train=16), **more)
    size = micro_batches(TrainConfig(batch_size=micro), notes.append)
    parts = replace(parts, log=events.append, micro_batch=size)
    if most is not None:
        scarce(parts, most)
    list(learn(parts))
    return parts.adaptation.state(), events, notes


HEADS = ("head-only", "loko", "frozen")
DRAWING = ("droplora", "flat-lora", "prilora", "xgblora")  # whose steps draw or count something
KINDS = (*DRAWING, "lora", "full", "curlora", "nlora", "slora", "replay", "ewc", "lwf", "lora-rite")


@pytest.mark.parametrize(
    "method", slow_or_soak([name for name in METHODS if name not in HEADS], KINDS)
)
def test_a_step_that_is_made_again_is_the_step_with_smaller_micro_batches(method):
    """Bit for bit, for every method: masks, noise and counts of the attempt are gone."""
    halved, events, _ = trained(method, 8, 4)
    small, _, _ = trained(method, 4, None)

    assert halved.keys() == small.keys()
    for name, tensor in small.items():
        assert torch.equal(halved[name], tensor), name
    assert [e["micro_batch_size"] for e in events if "micro_batch_size" in e] == [4]


@pytest.mark.slow
def test_it_is_said_once_per_halving_and_logged():
    """The batch stays what it was; the next steps begin with the size that fitted."""
    _, events, notes = trained("prilora", 8, 2)

    assert [e["micro_batch_size"] for e in events if "micro_batch_size" in e] == [2]
    assert [note.rpartition("; ")[2] for note in notes] == [
        "going on with batches of 4.",
        "going on with batches of 2.",
    ]
    assert "out of memory in training (DefaultCPUAllocator" in notes[0]


def test_validation_goes_through_the_model_in_micro_batches():
    """And in smaller ones where memory runs out; the loss is the same, and the size stays."""
    scenario = small_scenario(1, train=80)
    parts = learner(scenario=scenario, early_stop=1)
    notes, seen = [], []
    parts = replace(parts, micro_batch=micro_batches(TrainConfig(batch_size=8), notes.append))
    begin(parts, parts.scenario[0])
    course = prepare(parts.scenario, parts.backbone, parts.config, parts.memory, scenario[0], 0)
    validation = Validation.of(parts.backbone, course, parts.micro_batch)
    whole, loss = validation.nats(), parts.backbone.loss

    def limited(batch, *rest):
        seen.append(len(next(iter(batch.values()))))
        if seen[-1] > 2:
            raise RuntimeError(OUT_OF_MEMORY)
        return loss(batch, *rest)

    parts.backbone.loss = limited

    assert validation.nats() == pytest.approx(whole, rel=1e-6)
    assert max(seen[2:]) == parts.micro_batch.size == 2
    assert len(notes) == 2


def test_a_teacher_that_does_not_fit_leaves_dropout_on():
    """Distillation switches it off for the teacher's pass, which is where memory may run out."""
    parts = learner(scenario=small_scenario(1))
    begin(parts, parts.scenario[0])
    teacher = Teacher(LwFConfig(lam=1.0), parts.adaptation.trainable(), ())
    batch = {"ids": torch.zeros(1)}
    parts.backbone.answers = no_memory
    with pytest.raises(MemoryError):
        teacher.says(parts.backbone, parts.adaptation, batch, None)

    assert parts.backbone.training


@pytest.mark.slow
def test_the_micro_batch_is_part_of_a_checkpoint():
    """A run that continues begins with the size that fitted, and so with the same sums."""
    kept = []
    parts = replace(learner(scenario=small_scenario(1)), save=kept.append)
    scarce(parts, 4)
    list(learn(parts))
    again = learner(scenario=small_scenario(1))
    list(learn(again, kept[-1]))

    assert again.micro_batch.size == parts.micro_batch.size == 4


@pytest.mark.slow
def test_one_example_that_does_not_fit_is_an_error_with_a_way_out():
    """Nothing was updated."""
    kept, notes = [], []
    parts = replace(learner(scenario=small_scenario(1)), save=kept.append)
    parts = replace(parts, micro_batch=micro_batches(parts.config, notes.append))
    scarce(parts, 0)
    with pytest.raises(InputError, match=r"not even one example fits .* training: .*max_length"):
        list(learn(parts))

    assert [one.position.phase for one in kept] == ["evaluated"]  # that before training
    assert len(notes) == 3

    """LoKO takes them in one by one and cannot forget; nothing smaller than one would help."""
    parts = learner("loko", scenario=small_scenario(1, train=8), backbone="tiny-lm")
    assert parts.micro_batch.size == 8
    with pytest.raises(InputError, match="not even one example fits"):
        parts.micro_batch.run(lambda size: (_ for _ in ()).throw(MemoryError("no")), once=True)
