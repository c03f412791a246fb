"""The command as a user types it: what it prints, its exit codes, its messages."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from continual import cli
from continual.runs.assemble import run
from tests.sequences import QUICK, rows, small_scenario

SCENARIO = """
name: mine
setting: task-incremental
defaults: {backbone: tiny-lm, train: {batch_size: 8}, evaluation: {batch_size: 8}}
tasks:
  - name: food
    kind: text-classification
    train: {file: train.jsonl}
    test: {file: test.jsonl}
    labels: [sour, sweet]
"""


@dataclass(frozen=True)
class Answer:
    """What the command printed, and its exit code."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def continual(monkeypatch, capsys):
    """The command, called in this process as its script calls it."""

    def call(*arguments: str, cwd: Path) -> Answer:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["continual", *arguments])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Answer(code, printed.out, printed.err)

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of two tasks."""
    folder = tmp_path_factory.mktemp("runs") / "lora"
    run(small_scenario(2), "lora", out=folder, settings=QUICK)
    return folder


@pytest.fixture
def here(tmp_path):
    """A directory with a valid scenario file and its data."""
    for name, count, offset in (("train", 16, 0), ("test", 6, 100)):
        lines = [json.dumps(row) for row in rows("food", count, offset)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    (tmp_path / "mine.yaml").write_text(SCENARIO)
    return tmp_path


RUN = ("run", "mine.yaml", "--out", "out")
BAD = {
    "unknown scenario": (
        ("run", "pydoc", "--method", "lora", "--out", "out"),
        "did you mean 'pydocs'",
    ),
    "missing file": (("run", "no.yaml", "--method", "lora", "--out", "out"), "no.yaml"),
    "unknown method": ((*RUN, "--method", "curlra"), "did you mean 'curlora'"),
    "unknown tuner": ((*RUN, "--method", "peft:lor"), "did you mean 'lora'"),
    "a tuner that cannot run": ((*RUN, "--method", "peft:xlora"), "trained before"),
    "a tuner that does not fit": ((*RUN, "--method", "peft:c3a"), "block size should be a factor"),
    "counting a tuner": (("count", "peft:lora", "--config", "tiny-lm"), "no closed formula"),
    "unknown setting": (
        (*RUN, "--method", "lora", "--set", "train.epoch=3"),
        "did you mean 'epochs'",
    ),
    "unknown section": ((*RUN, "--method", "lora", "--set", "trian.lr=1"), "did you mean 'train'"),
    "not an assignment": ((*RUN, "--method", "lora", "--set", "train.lr"), "NAME=VALUE"),
    "negative rate": ((*RUN, "--method", "lora", "--set", "train.lr=-1"), "train.lr"),
    "unknown option": ((*RUN, "--method", "nlora", "--set", "method.lamda=1"), "method.lamda"),
    "rank too large": ((*RUN, "--method", "curlora", "--set", "method.rank=4000"), "4000"),
    "unknown target": ((*RUN, "--method", "lora", "--set", "method.targets=[c_attn]"), "q_proj"),
    "unknown backbone": ((*RUN, "--method", "lora", "--backbone", "tiny-ml"), "tiny-lm"),
    "backbone of another kind": ((*RUN, "--method", "lora", "--backbone", "tiny-vit"), "vision"),
    "heads where there are none": ((*RUN, "--method", "head-only"), "frozen"),
    "unknown order": ((*RUN, "--method", "lora", "--order", "backwards"), "backwards"),
    "no such device": ((*RUN, "--method", "lora", "--set", "backbone.device=tpu"), "tpu"),
    "negative seed": ((*RUN, "--method", "lora", "--seed", "-1"), "--seed"),
    "method missing": (RUN, "--method"),
    "unknown study method": (
        ("study", "mine.yaml", "--methods", "lora,curlra", "--out", "out"),
        "curlora",
    ),
    "seeds that are words": (
        ("study", "mine.yaml", "--methods", "lora", "--seeds", "a", "--out", "out"),
        "0,1,2",
    ),
    "not a run": (("scores", "."), "run.yaml"),
    "report of nothing": (("report", ".", "--out", "out.html"), "run.yaml"),
    "unknown listing": (("list", "planets"), "methods"),
    "nothing to validate": (("validate", "no.yaml"), "no.yaml"),
    "unknown form": (("export", ".", "out", "--to", "onnx"), "merged"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_exits_with_2_says_why_and_writes_nothing(continual, here, case):
    """A mistake costs nothing: no traceback, no directory, and what to do instead."""
    arguments, message = BAD[case]
    found = continual(*arguments, cwd=here)

    assert found.returncode == 2, found.stderr
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert not (here / "out").exists()


MALFORMED = {
    "no tasks": ("tasks:", "task:", "tasks"),
    "unknown kind": (
        "kind: text-classification",
        "kind: text-clasification",
        "text-classification",
    ),
    "unknown setting": ("task-incremental", "task-incrmental", "task-incremental"),
    "two sources": ("{file: train.jsonl}", "{file: train.jsonl, hub: x}", "tasks[0].train"),
    "missing data": ("train.jsonl", "trian.jsonl", "trian.jsonl"),
    "label not listed": ("[sour, sweet]", "[sour, bitter]", "sweet"),
    "unsafe name": ("name: food", "name: ../food", "tasks[0].name"),
    "unknown key": ("labels:", "label:", "labels"),
    "bad default": ("batch_size: 8}, eval", "batch_sise: 8}, eval", "batch_size"),
    "not YAML": ("tasks:", "tasks: [", "mine.yaml"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_scenario_is_refused_before_anything_is_written(continual, here, case):
    """Run finds what is wrong with the file or its data, and says where."""
    old, new, message = MALFORMED[case]
    (here / "mine.yaml").write_text(SCENARIO.replace(old, new))
    found = continual(*RUN, "--method", "lora", cwd=here)

    assert found.returncode == 2, found.stderr
    assert message in found.stderr
    assert "Traceback" not in found.stderr
    assert not (here / "out").exists()


def test_validate_reports_every_problem_at_once(continual, here):
    """Three mistakes in three places are three lines."""
    broken = SCENARIO.replace("name: mine", "name: 'a/b'").replace("kind:", "kinds:")
    (here / "mine.yaml").write_text(broken.replace("batch_size: 8}, eval", "epochs: 0}, eval"))
    found = continual("validate", "mine.yaml", cwd=here)

    assert found.returncode == 2
    assert all(word in found.stderr for word in ("name", "tasks[0].kinds", "epochs"))


def test_validate_accepts_a_good_file(continual, here):
    """It says so and exits with 0."""
    found = continual("validate", "mine.yaml", cwd=here)

    assert (found.returncode, found.stdout) == (0, "mine.yaml: valid.\n"), found.stderr


def test_run_prints_the_matrix_and_leaves_a_complete_directory(continual, here):
    """A run from a file, without a terminal: no bars, a table, exit code 0."""
    found = continual(*RUN, "--method", "slora", "--set", "train.max_steps=1", cwd=here)

    assert found.returncode == 0, found.stderr
    assert "food" in found.stdout
    assert "\x1b" not in found.stdout + found.stderr
    assert (here / "out" / "COMPLETE").exists()


def test_quiet_says_nothing_on_stderr(continual, here):
    """--quiet leaves results and errors only."""
    found = continual(*RUN, "--method", "frozen", "--quiet", cwd=here)

    assert (found.returncode, found.stderr) == (0, "")


def test_scores_as_json_have_the_promised_shape(continual, finished, tmp_path):
    """matrix, tasks, scores by definition id, probes."""
    found = continual("scores", str(finished), "--json", cwd=tmp_path)
    value = json.loads(found.stdout)

    assert value["tasks"] == ["weather", "food"]
    assert len(value["matrix"]) == 2
    assert all(0 <= cell <= 1 for row in value["matrix"] for cell in row)
    assert "forgetting.chaudhry2018" in value["scores"]
    assert value["probes"] == {}


@pytest.mark.parametrize("kind", ["scenarios", "methods", "metrics", "backbones", "peft"])
def test_lists_are_lists_of_named_objects(continual, kind, tmp_path):
    """--json prints a list of objects with a name; without it, a table with the same names."""
    rows = json.loads(continual("list", kind, "--json", cwd=tmp_path).stdout)
    table = continual("list", kind, cwd=tmp_path)

    assert rows
    assert all(row["name"] for row in rows)
    assert table.returncode == 0
    assert rows[0]["name"] in table.stdout


def test_the_tuners_of_peft_are_listed_with_their_fields(continual, tmp_path):
    """What may be set, what cannot run and why; and `list methods` says that they exist."""
    rows = json.loads(continual("list", "peft", "--json", cwd=tmp_path).stdout)
    tuners = {row["name"]: row for row in rows}

    assert tuners["peft:lora"]["fields"]["r"] == 8
    assert tuners["peft:dora"]["fields"]["use_dora"] is True
    assert tuners["peft:osf"]["mode"] == "merge"
    assert not tuners["peft:xlora"]["runs"]
    assert "trained before" in tuners["peft:xlora"]["why_not"]
    assert "continual list peft" in " ".join(
        continual("list", "methods", cwd=tmp_path).stdout.split()
    )


def test_the_schema_is_a_json_schema(continual, tmp_path):
    """Editors read it."""
    schema = json.loads(continual("schema", cwd=tmp_path).stdout)

    assert schema["type"] == "object"
    assert {"name", "tasks"} <= set(schema["properties"])


def test_a_report_is_written(continual, finished, tmp_path):
    """HTML and Markdown, with their paths printed."""
    found = continual("report", str(finished), "--out", "page.html", cwd=tmp_path)

    assert found.returncode == 0, found.stderr
    assert "weather" in (tmp_path / "page.html").read_text()
    assert "weather" in (tmp_path / "page.md").read_text()


def test_every_command_has_help_with_an_example(continual, tmp_path):
    """--help of each command shows how it is used."""
    commands = ["run", "study", "report", "compare", "scores", "check", "export", "list"]
    commands += ["validate", "schema", "count", "decompose"]
    for command in commands:
        assert "Example: continual" in continual(command, "--help", cwd=tmp_path).stdout


def test_the_installed_script_is_this_command(tmp_path):
    """In a process of its own it answers as above, without a trace of where it failed."""
    found = subprocess.run(
        [sys.executable, "-m", "continual.cli", "run", "pydoc", "--method", "lora", "--out", "x"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        check=False,
    )

    assert found.returncode == 2
    assert found.stderr.startswith("error: ")
    assert "did you mean 'pydocs'" in found.stderr


def test_scores_of_any_matrix(continual, tmp_path, monkeypatch):
    """A file or standard input, as a table and as JSON; exactly one source."""
    (tmp_path / "R.csv").write_text("a,b,c\n.8,.1,.1\n.9,.8,.12\n.6,.85,.8\n")
    shown = continual("scores", "--matrix", "R.csv", cwd=tmp_path)
    printed = continual("scores", "--matrix", "R.csv", "--json", cwd=tmp_path)
    found = json.loads(printed.stdout)
    monkeypatch.setattr(sys, "stdin", __import__("io").StringIO("[[80, null], [60, 70]]"))
    piped = continual("scores", "--matrix", "-", "--percent", "--json", cwd=tmp_path)

    assert "forgetting.chaudhry2018" in shown.stdout
    assert found["tasks"] == ["a", "b", "c"]
    assert round(found["scores"]["forgetting.chaudhry2018"], 3) == 0.125
    assert json.loads(piped.stdout)["matrix"] == [[0.8, None], [0.6, 0.7]]
    for bad in ((), ("runs/x", "--matrix", "R.csv")):
        answer = continual("scores", *bad, cwd=tmp_path)
        assert answer.returncode == 2
        assert "give one of" in answer.stderr
    missing = continual("scores", "--from", "avalanche", "no.csv", cwd=tmp_path)
    assert (missing.returncode, "there is no no.csv" in missing.stderr) == (2, True)


def test_the_gate_has_three_exit_codes(continual, finished, tmp_path):
    """0 where all holds, 1 where something does not, 2 where the question is wrong."""
    passed = continual("check", str(finished), "--max-forgetting", "1", cwd=tmp_path)
    failed = continual(
        *("check", str(finished), "--min-accuracy", "average=1.01", "--max-forgetting", "1"),
        cwd=tmp_path,
    )
    wrong = continual("check", str(finished), "--min-accuracy", "food", cwd=tmp_path)
    itself = continual("check", str(finished), "--baseline", str(finished), cwd=tmp_path)

    assert (passed.returncode, failed.returncode, wrong.returncode) == (0, 1, 2)
    assert passed.stdout.startswith("pass  forgetting.chaudhry2018")
    assert [line[:4] for line in failed.stdout.splitlines()] == ["pass", "FAIL"]
    assert "takes TASK=SCORE" in wrong.stderr
    assert itself.returncode == 0


def test_compare_prints_what_a_report_says(continual, finished, tmp_path):
    """The same tables in the terminal."""
    printed = continual("compare", str(finished), cwd=tmp_path)

    assert printed.returncode == 0
    assert "lora" in printed.stdout
    assert continual("compare", str(tmp_path), cwd=tmp_path).returncode == 2
