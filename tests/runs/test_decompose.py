"""`continual decompose`: from a backbone to a table, JSON and factors."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

from continual.cli import app
from continual.errors import InputError
from continual.linalg import layers_of
from continual.runs.decompose import decompose

LAYERS = r"layers\.0\.self_attn\.[qk]"
FIELDS = {"layer", "shape", "rank", "method", "seconds", "error_fro", "optimal_error_fro"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """No test reads what another one computed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def command(*arguments: str):
    """The command's result."""
    return CliRunner().invoke(app, ["decompose", *arguments])


@pytest.mark.parametrize("kind", ["cur", "svd"])
def test_json_has_an_object_for_every_layer(kind):
    """With the promised fields; no error is below the optimum."""
    arguments = ("tiny-lm", "--kind", kind, "--rank", "4", "--layers", LAYERS, "--json")
    done = command(*arguments, "--quiet")
    rows = json.loads(done.stdout)

    assert [row["layer"].split(".")[-2] for row in rows] == ["k_proj", "q_proj"]
    for row in rows:
        assert set(row) >= FIELDS
        assert row["error_fro"] >= row["optimal_error_fro"] * (1 - 1e-6)
    assert json.loads(command(*arguments).stdout) == rows  # the second time from the cache


def test_the_table_names_layers_briefly():
    """Without what they all share."""
    done = command("tiny-lm", "--kind", "cur", "--rank", "4", "--layers", LAYERS, "--no-cache")

    assert done.exit_code == 0
    assert "layers of model.layers.0.self_attn" in " ".join(done.stdout.split())
    assert "q_proj" in done.stdout


def test_factors_are_written_and_multiply_to_the_layer(tmp_path):
    """C U R of the file has the error that the table tells."""
    out = tmp_path / "deep" / "factors.safetensors"
    (found,) = decompose("tiny-lm", kind="cur", rank=5, layers="layers.1.self_attn.q", out=out)
    tensors = load_file(out)
    C, U, R = (tensors[f"{found.layer}|{name}"] for name in "CUR")
    from continual.backbone import EMBEDDED

    (layer,) = layers_of(EMBEDDED["tiny-lm"], "layers.1.self_attn.q")
    W = layer.operand().dense()

    np.testing.assert_allclose(np.linalg.norm(W - C @ U @ R), found.error_fro, rtol=1e-4)
    np.testing.assert_array_equal(W[:, tensors[f"{found.layer}|columns"]], C)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "tiny-ml"}, "tiny-lm"),
        ({"rank": 400}, "fit every layer"),
        ({"layers": "nothing here"}, "no matrix whose name matches"),
        ({"policy": "lupp"}, "sketch_lupp"),
        ({"out": "factors.npz"}, "ends in .safetensors"),
    ],
)
def test_unusable_requests_write_nothing(tmp_path, monkeypatch, options, message):
    """With what was given and what is allowed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    given = {"target": "tiny-lm", "kind": "cur", "rank": 4, "layers": LAYERS} | options
    if "out" in given:
        given["out"] = tmp_path / given["out"]
    with pytest.raises(InputError, match=message):
        decompose(given.pop("target"), **given)

    assert not list(tmp_path.glob("factors*"))
