"""Memory that runs out in one of several processes."""

from dataclasses import replace

import pytest
import torch

from continual.backbone.memory import BatchSize, out_of_memory
from continual.errors import LostProcessError
from continual.processes import Processes
from continual.training import step
from continual.training.distillation import Teacher
from continual.training.lesson import prepare
from continual.training.loop import begin, learn
from continual.training.optimiser import make_optimiser
from continual.training.parallel import add_up
from continual.training.step import make_accelerator, take_step
from tests.processes.launching import start
from tests.runs.test_run import content
from tests.training.learners import learner
from tests.training.test_memory_runs_out import no_memory

TROUBLE = "tests.processes.trouble"


@pytest.mark.slow
def test_of_a_sharded_backbone_nobody_tries_again(tmp_path):
    """The process that it happens to says it truly, the others end, and nobody waits."""
    both = start(TROUBLE, "memory", "r", "shard", cwd=tmp_path)
    said = [one.communicate(timeout=100)[1] for one in both]

    assert [one.returncode for one in both] == [1, 1]
    assert "InputError: memory ran out during training with batches of 8 (DefaultCPU" in said[1]
    assert "Start anew in a new directory with a lower train.micro_batch_size" in said[1]
    assert "OtherProcessError: process 1: memory ran out during training" in said[0]
    assert not any("not even one example" in text for text in said)


@pytest.mark.slow
def test_all_go_on_with_the_size_that_fits_in_each(tmp_path):
    """So a run that was stopped after one has halved ends with the bytes of one that was not."""
    for folder, more in (("whole", ()), ("torn", ("stop",)), ("torn", ())):
        what = "memory" if folder == "torn" and not more else "late"
        for one in start(TROUBLE, what, folder, *more, cwd=tmp_path):
            one.communicate(timeout=100)
    assert content(tmp_path / "torn") == content(tmp_path / "whole")


def test_what_is_done_together_is_done_once(monkeypatch):
    """Memory that runs out after sums were exchanged is no reason to exchange them again."""
    exchanges = []

    def exchanged(*given):
        exchanges.append(given)
        return given[3:]

    monkeypatch.setattr(step, "add_up", exchanged)
    parts = learner("nlora")
    parts.adaptation.penalty = no_memory
    with pytest.raises(MemoryError):
        list(learn(parts))

    assert len(exchanges) == 1
    assert parts.micro_batch.size == 8


def test_the_least_size_of_all_is_everybodys():
    """Sizes travel with the counts; whoever had a larger one says so."""
    learning = [torch.nn.Parameter(torch.zeros(2))]
    sums, count, size = add_up(
        Second(rank=1, count=2), learner().adaptation, learning, torch.ones(2).double(), 5, 8
    )
    notes = []
    held = BatchSize(8, notes.append, doing="training")
    held.follow(size)

    assert (sums.tolist(), count, size) == ([1.0, 1.0], 8, 2)
    assert held.size == 2
    assert notes == [
        "warning: out of memory in training in another process; going on with batches of 2."
    ]


def test_passes_that_only_keep_in_step_add_nothing_up():
    """PRILoRA sees no input of an example that another process learns."""
    parts = replace(learner("prilora", batch_size=1), processes=Second(rank=1, count=2))
    parts.backbone.sharded = True
    begin(parts, parts.scenario[0])
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[0], 0
    )
    optimiser = make_optimiser(parts.adaptation.trainable(), 1e-3, 0.0)
    teacher = Teacher.begin(parts.lwf, parts.scenario, parts.adaptation, 0)
    take_step(parts, course, teacher, make_accelerator(parts), optimiser, 0)

    for adapter in parts.adaptation.adapters.values():
        assert [tensor.count_nonzero() for tensor in adapter.sums()] == [0]


class Second(Processes):
    """The second of two processes; the first has had two examples at once, and a count of 3."""

    def add_up(self, *tensors):
        for facts in tensors:
            if facts.dtype == torch.float64:
                facts[2] += 3
                facts[3] += 2


def test_a_lost_process_is_no_lack_of_memory():
    """Whatever it was that ended it."""
    assert out_of_memory(RuntimeError("CUDA out of memory"))
    assert not out_of_memory(LostProcessError("process 1: CUDA out of memory"))
