"""A step asks a device for no number: it gives it work, and reads what it has cost when it logs."""

import traceback
from collections import Counter

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from continual.backbone.transfer import on_device
from continual.scenario import load_scenario
from continual.training.distillation import Teacher
from continual.training.lesson import prepare
from continual.training.loop import begin, learn
from continual.training.optimiser import make_optimiser
from continual.training.step import make_accelerator, take_step
from tests.training.learners import learner

# Ours, that is: transformers asks whether a mask hides anything, and AdamW counts its steps on the
# host.
THEIRS = ("transformers/masking_utils.py", "torch/optim/")
LABELS = ("backbone/heads.py", "columns")  # looks label numbers up in this process' memory
READS = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "masked_select")
COPIES = ("tolist", "cpu", "numpy")  # what a tensor in this memory answers without an operation
METHODS = ("lora", "nlora", "olora", "curlora", "slora", "ewc", "lwf", "replay", "pica", "dora")


class Reads(TorchDispatchMode):
    """Counts the operations of ours whose result a process would have to wait for."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self.patches = pytest.MonkeyPatch()

    def __enter__(self):
        for name in COPIES:
            self.patches.setattr(torch.Tensor, name, self.counted(name))
        return super().__enter__()

    def __exit__(self, *given):
        self.patches.undo()
        return super().__exit__(*given)

    def counted(self, name: str):
        original = getattr(torch.Tensor, name)

        def read(tensor, *args, **kwargs):
            self.count(name)
            return original(tensor, *args, **kwargs)

        return read

    def count(self, name: str) -> None:
        frames = traceback.extract_stack()
        labels = any(f.filename.endswith(LABELS[0]) and f.name == LABELS[1] for f in frames)
        if not (labels and name in COPIES) and not any(
            part in f.filename for part in THEIRS for f in frames
        ):
            self.found[name] += 1

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        boolean = name == "index" and any(
            one is not None and one.dtype == torch.bool for one in args[1]
        )
        if name in READS or boolean:
            self.count(name)
        return func(*args, **kwargs or {})


@pytest.fixture
def waits(monkeypatch):
    """Let every tensor be on a device whose numbers one has to wait for."""
    monkeypatch.setattr("continual.training.losses.reading_waits", lambda numbers: True)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_asks_for_no_number(monkeypatch, waits, method):
    """A step only gives work to the device, and one that is logged reads what all have cost."""
    from continual.training import loop

    steps = []

    def watched(*args):
        with Reads() as reads:
            take_step(*args)
        steps.append(reads.found)

    take_step = loop.take_step
    monkeypatch.setattr(loop, "take_step", watched)
    list(learn(learner(method, epochs=2, log_steps=3)))

    assert [sum(found.values()) for found in steps] == [0, 0, 1, 0, 0, 1]


def test_a_step_of_heads_asks_for_no_number(monkeypatch, waits):
    """Labels are looked up here, before their columns go to the device."""
    parts = learner("slora", scenario=load_scenario("split-digits"), backbone="tiny-vit")
    begin(parts, parts.scenario[0])
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[0], 0
    )
    optimiser = make_optimiser(parts.adaptation.trainable(), 1e-3, 0.0)
    teacher = Teacher.begin(parts.lwf, parts.scenario, parts.adaptation, 0)
    with Reads() as reads:
        take_step(parts, course, teacher, make_accelerator(parts), optimiser, 0)

    assert reads.found == Counter()
    assert len(parts.losses.waiting) == 1


@pytest.mark.parametrize("read", [lambda x: x.tolist(), lambda x: x.cpu(), lambda x: x.numpy()])
def test_what_counts_as_asking(read):
    """A tensor of this memory answers some questions without an operation."""
    with Reads() as reads:
        read(torch.zeros(2))
        float(torch.zeros(()))
    read(torch.zeros(2))

    assert sum(reads.found.values()) == 2


def test_what_is_moved_is_the_same():
    """A device of its own memory gets a copy; here it is the very tensor."""
    numbers = torch.arange(3)

    assert on_device(numbers, torch.device("cpu")) is numbers
    if torch.cuda.is_available():
        assert on_device(numbers, torch.device("cuda")).tolist() == [0, 1, 2]
