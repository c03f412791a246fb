"""What we publish works where nothing else of ours is."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The built wheel."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, timeout=300)
    (found,) = out.glob("continual_adapters-*.whl")
    return found


def test_the_wheel_holds_the_catalogue_the_models_and_the_templates(wheel):
    """Everything that is not Python is in it, and nothing that should not be."""
    names = zipfile.ZipFile(wheel).namelist()

    assert "continual/scenario/catalogue/pydocs.yaml" in names
    assert "continual/backbone/embedded/tiny-lm/model.safetensors" in names
    assert "continual/backbone/embedded/tiny-vit/model.safetensors" in names
    assert "continual/py.typed" in names
    assert any(name.endswith(".html.j2") for name in names)
    assert not [name for name in names if name.startswith(("tests", "analysis", "scenarios"))]


@pytest.mark.slow
def test_the_wheel_runs_in_an_empty_environment(wheel, tmp_path):
    """Installed beside nothing, outside the repository, it runs a scenario of its catalogue."""
    venv.create(tmp_path / "env", with_pip=True)
    binaries = tmp_path / "env" / "bin"
    pip = [
        str(binaries / "python"),
        "-m",
        "pip",
        "install",
        "--quiet",
        "-c",
        str(ROOT / "constraints.txt"),
    ]
    for what in ("torch", str(wheel)):
        subprocess.run([*pip, what], check=True, cwd=tmp_path, timeout=1500)
    command = [
        "run",
        "split-digits",
        "--method",
        "slora",
        "--set",
        "train.max_steps=2",
        "--out",
        "run",
    ]
    found = subprocess.run(
        [str(binaries / "continual"), *command],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert found.returncode == 0, found.stderr
    assert (tmp_path / "run" / "COMPLETE").exists()
