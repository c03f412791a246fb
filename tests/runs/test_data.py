"""Runs on the data of a folder: recorded, continued from another path, refused for other data."""

from pathlib import Path

import pytest
import yaml

from continual.errors import InputError
from continual.runs.assemble import run
from continual.runs.progress import SilentReporter
from continual.scenario import HubSource, Scenario, Task, with_data
from continual.scenario.writing import write_data
from tests.runs.test_run import CrashAt, CrashError, content
from tests.sequences import QUICK, small_scenario


@pytest.fixture
def folder(tmp_path) -> Path:
    """The small scenario's data, written."""
    return write_data(small_scenario(1), tmp_path / "data")


def began(out: Path, **where) -> None:
    """Leave a run that was interrupted after its first checkpoint."""
    with pytest.raises(CrashError):
        run(small_scenario(1), "lora", out=out, settings=QUICK, reporter=CrashAt(5), **where)
    assert (out / "run.yaml").exists()


def test_the_same_data_may_be_somewhere_else(tmp_path, folder):
    """A run goes on with a copy under another path, or with the sources, to the same bytes."""
    small, torn = small_scenario(1), tmp_path / "torn"
    run(small, "lora", out=tmp_path / "whole", settings=QUICK)
    began(torn, data=folder)
    recorded = yaml.safe_load((torn / "run.yaml").read_text())["data"]
    copy = folder.rename(tmp_path / "copy")
    with pytest.raises(CrashError):
        run(small, "lora", out=torn, settings=QUICK, reporter=CrashAt(4), data=copy)
    run(small, "lora", out=torn, settings=QUICK)

    assert recorded == str(folder)
    whole = {name: sum_ for name, sum_ in content(tmp_path / "whole").items() if "yaml" not in name}
    assert whole.items() <= content(torn).items()


def test_other_data_is_refused_with_both_places_named(tmp_path, folder):
    """The fingerprints decide; the message says what the run began with."""
    began(tmp_path / "run", data=folder)
    other = write_data(small_scenario(1, train=20), tmp_path / "other")

    for where, named in (({"data": other}, f"--data {other}"), ({}, "the scenario's own sources")):
        tasks = small_scenario(1) if where else small_scenario(1, train=20)
        with pytest.raises(InputError) as caught:
            run(tasks, "lora", out=tmp_path / "run", settings=QUICK, **where)
        assert "data.weather: '" in str(caught.value)
        assert f"began with --data {folder} and was continued with {named}" in str(caught.value)


def test_a_run_continued_where_its_sources_cannot_be_read_says_why(tmp_path, folder, monkeypatch):
    """Who forgets --data is told that the run began with it."""
    source = HubSource(hub="nobody/nothing", split="train")
    small = small_scenario(1)
    tasks = tuple(
        Task(name=t.name, kind=t.kind, train=source, test=source, labels=t.labels)
        for t in small.tasks
    )
    scenario = Scenario(name="small", tasks=tasks, defaults=small.defaults)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    began(tmp_path / "run", data=folder)

    with pytest.raises(
        InputError, match=rf"cannot load hub dataset(.|\n)*began with --data {folder}"
    ):
        run(scenario, "lora", out=tmp_path / "run", settings=QUICK)


@pytest.mark.slow
def test_workers_of_a_study_read_the_folder(tmp_path, folder):
    """Every cell of a study in several processes is a run on the same folder."""
    from continual.studies import Grid, run_study

    records = run_study(
        with_data(small_scenario(1), folder),
        Grid.parse("frozen,lora", "0"),
        out=tmp_path / "study",
        settings=QUICK,
        jobs=2,
        reporter=SilentReporter(),
    )
    assert [record.config["data"] for record in records] == [str(folder)] * 2


def test_the_command_takes_a_folder(tmp_path, capsys, monkeypatch):
    """`data --out`, `data --check` and `run --data` fit together; a bad folder exits with 2."""
    import sys

    from continual.cli import main

    def command(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["continual", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), *capsys.readouterr()

    data, yaml_file = tmp_path / "digits", tmp_path / "two.yaml"
    yaml_file.write_text(
        "name: two\nsetting: class-incremental\ndefaults: {backbone: tiny-vit}\n"
        "split: {name: digits, kind: image-classification, tasks: 2, labels: [0, 1, 2, 3],\n"
        "  train: {callable: 'tests.sequences:squares', params: {count: 24}},\n"
        "  test: {callable: 'tests.sequences:squares', params: {count: 8}}}\n"
    )
    assert command("data", yaml_file, "--out", data)[0] == 0
    code, out, _ = command("data", yaml_file, "--check", data)
    assert (code, "complete" in out) == (0, True)
    (data / "digits" / "train.parquet").unlink()
    code, out, error = command("data", yaml_file, "--check", data)
    assert (code, "MISSING" in out) == (2, True)
    assert f"{data}/digits/train.EXT: missing" in error
    words = ("run", yaml_file, "--method", "frozen", "--out", tmp_path / "run", "--data")
    code, _, error = command(*words, data)
    assert (code, "1 problem(s)" in error, (tmp_path / "run").exists()) == (2, True, False)
    assert command("data", yaml_file, "--out", data, "--check", data)[0] == 2
    assert "tests.sequences:squares" in command("data", yaml_file)[1]
