"""Nothing that is read runs code, and nothing that is named leaves its directory."""

import inspect
import json
import os
import pickle
import re
import shutil
import string
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import continual
from continual.backbone import load_backbone
from continual.errors import InputError
from continual.interop.export import export_run
from continual.linalg import Cache
from continual.records import DamagedFileError, RunRecord, sha256_of
from continual.records.checksums import CHECKSUMS
from continual.runs.assemble import run
from continual.scenario import Scenario, load_scenario
from continual.training.checkpoint import (
    Checkpoint,
    DamagedRunError,
    Position,
    load_checkpoint,
    save_checkpoint,
)
from tests.sequences import QUICK, rows, small_scenario

CLEAR = (InputError, DamagedFileError, DamagedRunError)
FEW, MANY = 60, 10_000
QUIET = {
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(HealthCheck),
}
NAMES = ["../x", "a/b", "a\\b", "a\0b", "", ".", "..", ".hidden", "/etc/x", "x" * 65, "ünïcode"]
NAMES += [
    "CON",
    "nul.txt",
    "com1",
    "a b",
    "a\nb",
    "x.",
    "-x",
    "~",
    "$(id)",
    "C:x",
    "a:b",
    "a\u202eb",
]


class Bomb:
    """What writes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.system, (f"touch {self.mark}",))


def bomb_files(folder: Path, mark: Path) -> dict[str, bytes]:
    """Return a plain pickle, one as torch saves it, and one as numpy does."""
    plain = pickle.dumps(Bomb(mark))
    with zipfile.ZipFile(folder / "torch.zip", "w") as file:
        file.writestr("archive/data.pkl", plain)
        file.writestr("archive/version", "3")
    np.save(folder / "array.npy", np.array([Bomb(mark)], dtype=object), allow_pickle=True)
    saved = {"torch": folder / "torch.zip", "numpy": folder / "array.npy"}
    return {"plain": plain} | {name: path.read_bytes() for name, path in saved.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished run."""
    folder = tmp_path_factory.mktemp("security") / "run"
    run(small_scenario(1), "lora", out=folder, settings=QUICK)
    return folder


def test_the_bombs_are_live(tmp_path):
    """What the tests below put in the way would run, were it unpickled."""
    pickle.loads(bomb_files(tmp_path, tmp_path / "mark")["plain"])

    assert (tmp_path / "mark").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "torch", "numpy"])
def test_a_pickle_in_the_place_of_any_file_of_a_run_runs_nothing(tmp_path, finished, kind):
    """Checkpoints, adapters, tables, events: refused, with the file's checksum put right too."""
    mark = tmp_path / "mark"
    bomb = bomb_files(tmp_path, mark)[kind]
    files = [p.relative_to(finished) for p in sorted(finished.rglob("*")) if p.is_file()]
    for name in files:
        folder = tmp_path / "hurt"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished, folder)
        (folder / name).write_bytes(bomb)
        if name.name == "state.safetensors":  # as someone would who wants it to be read
            _sign(folder / name.parent)
        (folder / "COMPLETE").unlink()
        for use in (
            lambda: run(small_scenario(1), "lora", out=folder, settings=QUICK),  # noqa: B023
            lambda: continual.verify(folder),  # noqa: B023
            lambda: [RunRecord.open(folder).events(), RunRecord.open(folder).tokens()],  # noqa: B023
            lambda: export_run(folder, tmp_path / "out", form="merged"),  # noqa: B023
        ):
            (folder / CHECKSUMS).unlink(missing_ok=True)  # nothing but the reader itself refuses
            shutil.rmtree(tmp_path / "out", ignore_errors=True)
            with suppress(*CLEAR):
                use()
            assert not mark.exists(), name


def _sign(folder: Path) -> None:
    """Give a checkpoint whose tensors were replaced the checksums of a whole one."""
    told = json.loads((folder / "state.json").read_text())
    told.pop("self")
    told["sha256"] = sha256_of(folder / "state.safetensors")
    (folder / "state.json").write_text(json.dumps(told))


@pytest.mark.slow
def test_a_pickled_adapter_or_model_is_not_loaded(tmp_path, finished):
    """Where safetensors are expected, adapter_model.bin and pytorch_model.bin run nothing."""
    mark = tmp_path / "mark"
    bombs = bomb_files(tmp_path, mark)
    for kind, bomb in bombs.items():
        folder = tmp_path / f"run-{kind}"
        shutil.copytree(finished, folder)
        (folder / CHECKSUMS).unlink()
        adapter = folder / "adapters" / "after-00"
        (adapter / "adapter_model.safetensors").unlink()
        (adapter / "adapter_model.bin").write_bytes(bomb)
        with pytest.raises((InputError, DamagedFileError)):
            export_run(folder, tmp_path / f"out-{kind}", form="merged")
        model = tmp_path / f"model-{kind}"
        load_backbone("tiny-lm").save_pretrained(model, None)
        for weights in model.glob("*.safetensors"):
            weights.unlink()
        (model / "pytorch_model.bin").write_bytes(bomb)
        with pytest.raises(InputError):
            load_backbone(str(model))

        assert not mark.exists()


def test_a_pickle_in_the_cache_of_decompositions_is_not_read(tmp_path):
    """It is as if nothing were there."""
    mark = tmp_path / "mark"
    cache = Cache(tmp_path / "cache")
    from continual.linalg import svd

    W = np.arange(12.0).reshape(3, 4)
    cache.call(svd, W, rank=2)
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        path.write_bytes(bomb_files(tmp_path, mark)["numpy"])
    with pytest.warns(UserWarning, match="damaged"):
        cache.call(svd, W, rank=2)

    assert not mark.exists()


def test_yaml_makes_plain_values_only(tmp_path):
    """Tags that would make objects are refused, in scenarios, studies and run.yaml."""
    evil = f"!!python/object/apply:os.system ['touch {tmp_path / 'mark'}']"
    (tmp_path / "s.yaml").write_text(f"name: {evil}\n")
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.yaml").write_text(f"scenario: {evil}\n")
    with pytest.raises(InputError):
        load_scenario(str(tmp_path / "s.yaml"))
    for read in (RunRecord.open, lambda folder: run(small_scenario(1), "lora", out=folder)):
        with pytest.raises(DamagedFileError, match=r"run\.yaml is damaged"):
            read(tmp_path / "r")
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("name", NAMES)
def test_names_cannot_leave_their_directory(tmp_path, name):
    """Scenarios and tasks are named by what is a file name everywhere, and nothing else."""
    data = rows("food", 4, 0)
    with pytest.raises(InputError, match="allowed"):
        Scenario.from_lists("fine", [(name, data, data)])
    with pytest.raises(InputError, match="allowed"):
        Scenario.from_lists(name, [("fine", data, data)])
    (tmp_path / "s.yaml").write_text(json.dumps({"name": name, "tasks": []}))
    with pytest.raises(InputError, match="allowed"):
        load_scenario(str(tmp_path / "s.yaml"))


@pytest.mark.slow
def test_cells_of_a_study_stay_in_its_directory(tmp_path):
    """Whatever values a grid has, every run is directly below the study."""
    from continual.studies.grid import Grid, grid_cells

    methods = ["peft:lora", "lora:train.lr=0.03", "lora:method.targets=../../x", "lora:a/b=1"]
    made = []
    for method in methods:
        with suppress(InputError):
            grid = Grid(methods=(method,), seeds=(0,))
            made += grid_cells(small_scenario(1), grid, out=tmp_path / "study")

    assert len(made) >= 2
    for cell in made:
        assert cell.out.resolve().parent == (tmp_path / "study").resolve(), cell.name


def test_remote_code_is_never_trusted_unless_asked():
    """Every door that could has False as its default, and only a setting turns it on."""
    from continual.backbone import load
    from continual.runs.config import BackboneSettings

    assert BackboneSettings().trust_remote_code is False
    assert inspect.signature(load.load_backbone).parameters["trust_remote_code"].default is False
    assert inspect.signature(load.skeleton).parameters["trust_remote_code"].default is False
    package = Path(continual.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text()
        assert "trust_remote_code=True" not in text.replace(
            "(in Python: trust_remote_code=True)", ""
        )


@pytest.mark.slow
def test_code_that_comes_with_a_model_does_not_run(tmp_path):
    """A folder with a configuration class of its own is refused, and says what would allow it."""
    model = tmp_path / "model"
    load_backbone("tiny-lm").save_pretrained(model, None)
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "evil.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')\nclass Config: ...\n")
    with pytest.raises(InputError, match="trust_remote_code"):
        load_backbone(str(model))

    assert not (tmp_path / "mark").exists()


@pytest.mark.slow
def test_what_a_run_says_is_escaped_in_a_report(tmp_path, finished):
    """Paths, scenario, method, tasks and fork: a page shows them and runs nothing."""
    import yaml

    from continual.reports import write_report

    evil = "<img src=x onerror=alert(1)>"
    folder = tmp_path / evil
    shutil.copytree(finished, folder)
    (folder / CHECKSUMS).unlink()
    config = yaml.safe_load((folder / "run.yaml").read_text())
    config |= {"scenario": evil, "method": evil, "backbone": evil, "data": evil}
    config["tasks"][0] |= {"name": evil, "kind": evil}
    config["fork"] = {"source": evil, "after": 0, "method": evil, "carries": evil}
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    page, text = write_report([folder], tmp_path / "page.html")

    assert "<img src=x" not in page.read_text()
    assert "&lt;img src=x" in page.read_text()
    assert "<img src=x" not in text.read_text()


words = st.text(string.printable + "é\u2028\0", max_size=12)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | words
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3)
)
WORDS = (
    "name setting tasks probes split defaults orders description kind train test validation labels"
    " columns prompt score limit file hub rows share local classes seed class_order"
)
keys = st.sampled_from(re.findall(r"\w+", WORDS))
task_like = st.dictionaries(keys | words, values | st.dictionaries(keys, values, max_size=4))
known = st.sampled_from(
    ["task-incremental", "class-incremental", "text-classification", "language-modeling", "a", "b"]
)
scenarios = st.fixed_dictionaries(
    {"name": known | scalars, "tasks": st.lists(task_like, max_size=3) | values},
    optional={
        "setting": known | scalars,
        "split": task_like | values,
        "probes": st.lists(task_like, max_size=2) | values,
        "orders": values,
        "defaults": task_like | values,
    },
)
tags = st.sampled_from(
    ["!!bool ", "!!int ", "!!timestamp ", "!!float ", "!!binary ", "!!set ", "&a ", "*a"]
)
noise = st.text("[]{}:,-&*!?|>'\"%@`# \n\ta1.", max_size=60)
texts = st.one_of(
    st.binary(max_size=200),
    noise.map(str.encode),
    scenarios.map(lambda value: json.dumps(value).encode()),
    st.tuples(tags, words).map(lambda two: f"name: {two[0]}{two[1]}".encode()),
    st.integers(1, 30).map(lambda n: b"[" * n),  # more takes PyYAML long; see the last test
    st.integers(1, 30).map(lambda n: b"a: {" * n),
)


def parse(folder: Path, data: bytes) -> None:
    """Give bytes as a scenario file to everything that reads one."""
    from continual.listing import file_problems

    (folder / "s.yaml").write_bytes(data)
    for read in (load_scenario, lambda name: file_problems(Path(name))):
        try:
            read(str(folder / "s.yaml"))
        except CLEAR as error:
            said = str(error)
            assert said


def checkpoint(folder: Path) -> Path:
    """Return a whole checkpoint to be damaged."""
    import torch

    state = Checkpoint(
        position=Position(experience=1, step=4, phase="training"),
        tensors={"state|a": torch.arange(6.0)},
        facts={"memory": {"seen": 0, "kept": []}},
    )
    return save_checkpoint(folder, state)


edits = st.one_of(
    st.tuples(st.just("json"), st.binary(max_size=120)),
    st.tuples(st.just("json"), values.map(lambda value: json.dumps(value).encode())),
    st.tuples(st.just("json"), st.integers(1, 5000).map(lambda n: b"[" * n)),
    st.tuples(
        st.just("json"),
        st.fixed_dictionaries(
            {
                "position": values
                | st.fixed_dictionaries({"experience": scalars, "step": scalars, "phase": scalars}),
                "facts": values,
                "sha256": scalars,
            }
        ).map(lambda value: json.dumps(value).encode()),
    ),
    st.tuples(st.just("signed"), st.binary(max_size=200)),
    st.tuples(st.just("flip"), st.binary(min_size=4, max_size=4)),
)


def read_damaged(whole: Path, folder: Path, edit: tuple[str, bytes]) -> None:
    """Read a checkpoint after an edit: the same state, or a clear refusal."""
    kind, data = edit
    for name in ("state.json", "state.safetensors"):
        shutil.copyfile(whole / name, folder / "000000" / name)
    if kind == "json":
        (folder / "000000" / "state.json").write_bytes(data)
    elif kind == "signed":
        (folder / "000000" / "state.safetensors").write_bytes(data)
        _sign(folder / "000000")
    else:
        path = folder / "000000" / ("state.json" if data[3] % 2 else "state.safetensors")
        body = bytearray(path.read_bytes())
        body[int.from_bytes(data[:2]) % len(body)] ^= 1 << data[2] % 8
        path.write_bytes(body)
    try:
        found, _ = load_checkpoint(folder)
    except CLEAR as error:
        said = str(error)
        assert str(folder) in said
    else:
        assert found is not None
        assert isinstance(found.facts, dict)


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_fuzzed_scenario_files_are_read_or_clearly_refused(tmp_path, count):
    """Bytes, YAML noise, tags, nesting and scenarios of wrong values: nothing but InputError."""

    @settings(max_examples=count, **QUIET)
    @given(texts)
    @example(b'{"name": "a", "tasks": [{}], "split": {"train": {"share": []}}}')
    @example(b"name: !!bool maybe")
    def fuzz(data):
        parse(tmp_path, data)

    fuzz()


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_fuzzed_checkpoints_are_read_or_clearly_refused(tmp_path, count):
    """Edited descriptions, foreign tensors with right checksums, flipped bits."""
    whole = checkpoint(tmp_path / "whole")
    (tmp_path / "hurt" / "000000").mkdir(parents=True)

    @settings(max_examples=count, **QUIET)
    @given(edits)
    def fuzz(edit):
        read_damaged(whole, tmp_path / "hurt", edit)

    fuzz()


@pytest.mark.slow
def test_the_command_refuses_a_strange_file_without_a_traceback(tmp_path):
    """Deep nesting and odd tags are one message and exit code 2."""
    for text in ("[" * 1000, "name: !!bool maybe", "name: !!timestamp x", "\0"):
        (tmp_path / "s.yaml").write_text(text)
        command = [sys.executable, "-m", "continual.cli", "validate", str(tmp_path / "s.yaml")]
        found = subprocess.run(command, capture_output=True, text=True)

        assert found.returncode == 2
        assert "Traceback" not in found.stderr
