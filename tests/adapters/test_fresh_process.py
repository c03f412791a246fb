"""Law 5 through files and another process, for every adapter method at once."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from continual.adapters import attach
from tests.adapters.models import ADAPTER_METHODS, One, adapted, config_of, inputs

ROOT = Path(__file__).parents[2]


def test_state_survives_a_fresh_process(tmp_path):
    """Loaded elsewhere under other random state, every adapter is the same function bit for bit."""
    outputs = {}
    for method in ADAPTER_METHODS:
        adaptation = adapted(method, One("linear"), 3)
        save_file(adaptation.state(), tmp_path / f"{method}.safetensors")
        outputs[method] = adaptation.model(inputs(One("linear"))).detach()
    save_file(outputs, tmp_path / "outputs.safetensors")

    code = f"from tests.adapters.test_fresh_process import check; check({str(tmp_path)!r})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == dict.fromkeys(ADAPTER_METHODS, True)


def check(folder: str) -> None:
    """What the other process does: print whether each method gives the same bits."""
    torch.manual_seed(987)
    outputs = load_file(f"{folder}/outputs.safetensors")
    same = {}
    for method, expected in outputs.items():
        model = One("linear")
        adaptation = attach(model, method, config_of(method), targets=["layer"], seed=4)
        adaptation.load_state(load_file(f"{folder}/{method}.safetensors"))
        same[method] = torch.equal(model(inputs(model)), expected)
    print(json.dumps(same))
