"""The guard against a torchvision that does not fit its torch."""

import subprocess
import sys

import pytest

BROKEN = """
import sys, types, importlib.util, importlib.abc, importlib.machinery, torch

class Fake(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name == "torchvision" else None
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        {body}

sys.meta_path.insert(0, Fake())
from continual._torchvision import ensure_torchvision
"""


def run(body: str, rest: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BROKEN.format(body=body) + rest],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_healthy_install_is_left_alone():
    """Where torchvision imports, nothing is declared."""
    found = run("module.healthy = True", "print(ensure_torchvision())")

    assert found.stdout.strip() == "False", found.stderr


def test_missing_operators_are_declared():
    """Where the operators are missing, the second attempt succeeds."""
    body = "torch._C._dispatch_has_kernel_for_dispatch_key('torchvision::nms', 'CPU')"
    found = run(body, "print(ensure_torchvision()); import torchvision; print('imported')")

    assert found.stdout.split() == ["True", "imported"], found.stderr


def test_another_failure_is_not_hidden():
    """An import that fails for another reason fails as it did."""
    found = run("raise RuntimeError('the disk is on fire')", "ensure_torchvision()")

    assert found.returncode == 1
    assert "RuntimeError: the disk is on fire" in found.stderr


@pytest.mark.slow
def test_the_real_install_imports():
    """Beside whatever torch is installed here, transformers' classes and peft import."""
    code = (
        "from continual._torchvision import ensure_torchvision\n"
        "ensure_torchvision()\n"
        "from transformers import LlamaForCausalLM\nimport peft\nprint('fine')"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )

    assert found.stdout.strip().endswith("fine"), found.stderr
