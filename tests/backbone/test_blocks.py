"""Blocks of a backbone that are compiled for training steps, and for nothing else."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from continual import run
from continual._torchvision import ensure_torchvision
from continual.backbone.blocks import Compiled, blocks_of
from continual.errors import InputError
from continual.records import RunRecord
from continual.training.config import TrainConfig
from tests.adapters.models import MODELS
from tests.runs.test_run import content
from tests.sequences import QUICK, small_scenario

ROOT = Path(__file__).parents[2]
COMPILED = QUICK | {"train": {**QUICK["train"], "compile": True}}


@pytest.mark.parametrize("name", sorted(MODELS))
def test_blocks_are_the_layers_of_the_network(name):
    """Two of a kind."""
    first, second = blocks_of(MODELS[name]())

    assert type(first) is type(second)


def test_only_steps_go_through_compiled_blocks(tmp_path, monkeypatch):
    """Evaluation does not; and with a compiler that leaves all as it is, the run is the same."""
    asked = []

    def left_alone(forward, *, dynamic):
        assert dynamic

        def way(*given, **more):
            asked.append(torch.is_grad_enabled() and not torch.is_inference_mode_enabled())
            return forward(*given, **more)

        return way

    settings = QUICK | {"train": {**QUICK["train"], "early_stop": 1, "epochs": 2}}
    run(small_scenario(2), "nlora", out=tmp_path / "plain", settings=settings)
    monkeypatch.setattr("torch.compile", left_alone)
    settings = settings | {"train": {**settings["train"], "compile": True}}
    run(small_scenario(2), "nlora", out=tmp_path / "compiled", settings=settings)

    plain, compiled = content(tmp_path / "plain"), content(tmp_path / "compiled")
    assert asked
    assert all(asked)
    assert {k: v for k, v in plain.items() if k != "run.yaml"} == {
        k: v for k, v in compiled.items() if k != "run.yaml"
    }


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_steps_learn_what_plain_ones_do(tmp_path):
    """Up to rounding, over two tasks, of which the second has a longer stack."""
    code = "from tests.backbone.test_blocks import both; "
    code += f"both({str(tmp_path)!r})"  # elsewhere: the types that tests check cannot be compiled
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr
    graphs = [int(number) for number in found.stdout.split()[-2:]]
    plain, compiled = (RunRecord.open(tmp_path / name) for name in ("plain", "compiled"))

    assert graphs[0] == 0
    assert graphs[1] > 0
    name = "adapters/after-01/adapter_model.safetensors"
    theirs = load_file(plain.path / name)
    for key, found in load_file(compiled.path / name).items():
        assert (found - theirs[key]).norm() <= 1e-3 * theirs[key].norm()
    assert abs(compiled.matrix() - plain.matrix()).max() <= 1 / 8  # of eight examples, one


def both(folder: str) -> None:
    """What the other process does: two runs; print how many graphs were compiled after each."""
    ensure_torchvision()
    from torch._dynamo.utils import counters

    for name, settings in (("plain", QUICK), ("compiled", COMPILED)):
        run(small_scenario(2), "inclora", out=f"{folder}/{name}", settings=settings)
        print(counters["stats"]["unique_graphs"])


def test_what_cannot_be_compiled_is_refused():
    """No blocks, a filter that goes back several times, and a machine without a compiler."""
    with pytest.raises(InputError, match="no list of blocks"):
        Compiled(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="leave compile out"):
        TrainConfig(compile=True, optimiser="loko")


def test_a_machine_that_cannot_compile_says_so(monkeypatch):
    """And the blocks are what they were."""
    from torch._dynamo.exc import TorchDynamoException

    def no_compiler(*given, **more):
        raise TorchDynamoException("No working C++ compiler found")

    monkeypatch.setattr("torch.compile", lambda forward, dynamic: no_compiler)
    model = MODELS["llama"]()
    with (
        pytest.raises(InputError, match=r"cannot compile .*No working C\+\+ compiler found"),
        Compiled(model).in_use(),
    ):
        model(input_ids=torch.zeros(1, 2, dtype=torch.long))

    assert not any("forward" in vars(block) for block in blocks_of(model))
    model(input_ids=torch.zeros(1, 2, dtype=torch.long))
