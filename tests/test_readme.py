"""Every command and snippet of the README is run."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.DOTALL)
LIGHT = ("list", "validate", "schema")


def blocks(language: str) -> list[str]:
    return [text for kind, text in BLOCKS if kind == language]


def commands(name: str) -> list[list[str]]:
    lines = [line for text in blocks("bash") for line in text.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in words if line and line[0] == name]


@pytest.mark.slow
def test_the_python_example_runs_as_it_stands(tmp_path):
    """About ten lines, from a list of (name, train, test) to a report that is there."""
    (code,) = blocks("python")
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )

    assert found.returncode == 0, found.stderr
    assert (tmp_path / "report.html").exists()
    assert len([line for line in code.splitlines() if line.strip()]) <= 20


def test_make_targets_exist():
    """Every make target that the README names is in the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    targets = {line[1] for line in commands("make")}

    assert {"quickstart", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("line", commands("continual"), ids=" ".join)
def test_every_command_is_one_that_the_program_takes(line, tmp_path):
    """Light commands run; long ones are checked up to their options, which --help lists."""
    program = [sys.executable, "-m", "continual.cli"]
    if line[1] in LIGHT:
        found = subprocess.run(
            [*program, *line[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert found.returncode == 0, found.stderr
    else:
        found = subprocess.run(
            [*program, line[1], "--help"],
            capture_output=True,
            text=True,
            check=True,
            env={"COLUMNS": "200"},
        )
        for word in line:
            if word.startswith("--"):
                assert word in found.stdout
