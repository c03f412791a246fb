"""Matrices from files and from what other frameworks leave."""

import json

import numpy as np
import pytest

from continual.errors import InputError
from continual.interop.matrices import read_framework, read_matrix
from continual.metrics import scores

R = [[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]]
WORKED = {
    "forgetting.first_last": 0.075,
    "forgetting.chaudhry2018": 0.125,
    "forgetting.clamped": 0.150,
    "bwt.gem2017": -0.075,
    "bwt.all_pairs": -0.0167,
}


def worked(found) -> None:
    """The matrix of the design gives its five numbers."""
    values = scores(found.R, found.b)
    assert {id: round(values[id], 4) for id in WORKED} == pytest.approx(WORKED, abs=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(R),
        json.dumps({"matrix": R, "tasks": ["a", "b", "c"], "baseline": [0.1, None, 0.3]}),
        "\n".join(",".join(map(str, row)) for row in R),
        "a,b,c\n" + "\n".join(",".join(map(str, row)) for row in R) + "\n\n",
    ],
)
def test_files_of_the_usual_forms(text):
    """JSON and CSV, with and without names."""
    found = read_matrix(text)

    worked(found)
    assert found.tasks in (("a", "b", "c"), ("task 1", "task 2", "task 3"))
    if found.b is not None:
        np.testing.assert_array_equal(found.b, [0.1, np.nan, 0.3])


def test_what_scores_prints_can_be_read_back():
    """Nulls are NaN; percentages are asked for by name."""
    found = read_matrix("[[80, null], [60, 70]]", percent=True)

    np.testing.assert_array_equal(found.R, [[0.8, np.nan], [0.6, 0.7]])
    assert read_matrix(" ,\n0.5,\n0.4,0.6\n".replace(" ,\n", "")).R[0, 1] != 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the input is empty"),
        ("[[1,2],[3]]", "equally many"),
        ("0.5,0.4", "equally many"),
        ("[[80]]", "Give --percent"),
        ("[[-0.1]]", "lie in"),
        ("{", "is no JSON"),
        ("{}", "has no 'matrix'"),
        ('[["x"]]', "must be a number or empty; got 'x'"),
        ('{"matrix": [[0.5]], "tasks": ["a", "b"]}', "2 task names for 1 columns"),
        ('{"matrix": [[0.5]], "baseline": [0.1, 0.2]}', "2 scores for 1 tasks"),
    ],
)
def test_what_is_no_matrix(text, message):
    """Each says what is wrong."""
    with pytest.raises(InputError, match=message):
        read_matrix(text)


def test_avalanche(tmp_path):
    """Its CSVLogger's file, an evaluation before training included."""
    lines = ["eval_exp,training_exp,eval_accuracy,eval_loss,forgetting"]
    lines += [f"{j},None,{0.1 * (j + 1):.4f},2.3,0" for j in range(3)]
    lines += [f"{j},{i},{R[i][j]:.4f},0.5,0" for i in range(3) for j in range(3)]
    (tmp_path / "eval_results.csv").write_text("\n".join(lines) + "\n")
    found = read_framework("avalanche", tmp_path / "eval_results.csv")

    worked(found)
    np.testing.assert_allclose(found.b, [0.1, 0.2, 0.3])


@pytest.mark.parametrize("number", ["{:.1f}", "np.float64({:.1f})"])
def test_mammoth(tmp_path, number):
    """A line of Python literals and other things, in percent, the lower triangle alone."""
    cells = {
        f"accuracy_{j + 1}_task{i + 1}": number.format(100 * R[i][j])
        for i in range(3)
        for j in range(i + 1)
    }
    inner = ", ".join(f"'{key}': {value}" for key, value in cells.items())
    line = "{'dataset': 'seq-x', 'device': device(type='cuda'), 'lr': 0.1, " + inner + "}"
    (tmp_path / "logs.pyd").write_text(line + "\n")
    found = read_framework("mammoth", tmp_path / "logs.pyd")

    values = scores(found.R)
    assert round(values["forgetting.clamped"], 3) == 0.15
    assert np.isnan(found.R[0, 1])
    (tmp_path / "logs.pyd").write_text(f"{line}\n{line}\n")
    with pytest.raises(InputError, match="holds 2 runs"):
        read_framework("mammoth", tmp_path / "logs.pyd")


def test_nothing_in_a_mammoth_file_is_executed(tmp_path):
    """It is a Python literal by name only."""
    marker = tmp_path / "owned"
    bad = f"{{'accuracy_1_task1': __import__('os').system('touch {marker}')}}"
    (tmp_path / "logs.pyd").write_text(bad)
    with pytest.raises(InputError, match="holds no score"):
        read_framework("mammoth", tmp_path / "logs.pyd")

    assert not marker.exists()


def test_trace(tmp_path):
    """One file per round and task; each task's own score, names kept."""
    names = ("FOMC", "Py150", "20Minuten")
    for i in range(3):
        for j in range(i + 1):
            score = {
                "FOMC": {"accuracy": R[i][j]},
                "Py150": {"similarity": 100 * R[i][j]},
                "20Minuten": {"bleu-1": 0.0, "sari": [{"sari": 100 * R[i][j]}]},
            }[names[j]]
            path = tmp_path / f"results-{i}-{j}-{names[j]}.json"
            path.write_text(json.dumps({"eval": score, "prompts": []}))
    found = read_framework("trace", tmp_path)

    assert found.tasks == names
    assert scores(found.R)["forgetting.chaudhry2018"] == pytest.approx(0.125)


@pytest.mark.parametrize(
    ("framework", "name", "text", "message"),
    [
        ("avalanch", "x.csv", "", "did you mean 'avalanche'"),
        ("avalanche", "missing.csv", None, "there is no"),
        ("avalanche", "x.csv", "a,b\n1,2\n", "is no eval_results.csv"),
        ("mammoth", "logs.pyd", "{}", "holds no score"),
        ("trace", "x.json", "{}", "leaves a folder"),
    ],
)
def test_what_no_framework_wrote(tmp_path, framework, name, text, message):
    """Each says what is expected."""
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_framework(framework, tmp_path / name)
