"""Sequences of the catalogue to the end of a run, with small folders made by hand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from continual.errors import InputError
from continual.reports.flips import flips_table, negative_flips
from continual.runs.assemble import run
from continual.scenario import catalogue, load_scenario, with_data

from ..scenario.test_pictures import LABELS, make_pictures
from ..sequences import QUICK

DOCS = Path(__file__).parents[2] / "docs"


def documented(name: str):
    """Return a function of docs/catalogue.md, as a reader would copy it."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "catalogue.md").read_text(), re.DOTALL)
    names: dict = {"__name__": "example"}
    exec("\n".join(blocks), names)
    return names[name]


def write_json(path: Path, value) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def make_superni(source: Path, tasks, counts=(12, 4, 6)) -> None:
    """Write files as SAPT's repository has them."""
    for k, task in enumerate(tasks):
        for part, count in zip(("train", "dev", "test"), counts, strict=True):
            instances = [
                {"id": f"{k}-{part}-{i}", "input": f"{part} case {i}", "output": [f"it is {i}"]}
                for i in range(count)
            ]
            values = {"Definition": [" Say what it is. "], "Instances": instances}
            write_json(source / task / f"{part}.json", values)


def test_superni_is_made_of_the_files_of_sapt(tmp_path):
    """Every task has its splits, a definition in the prompt and the first answer as target."""
    scenario = load_scenario("superni-15")
    make_superni(tmp_path / "sapt", [task.name for task in scenario.tasks])
    documented("superni")(tmp_path / "sapt", tmp_path / "data")
    task = with_data(scenario, tmp_path / "data").tasks[0]
    data = task.load()
    example = data.test[0]

    assert (len(data.train), len(data.validation), len(data.test)) == (12, 4, 6)
    assert example.target.startswith("it is ")
    assert task.render(example) == (
        "Definition: Say what it is.\n\nNow complete the following example -\n"
        f"Input: {example.text}\nOutput:"
    )


def test_trace_is_made_of_its_archive(tmp_path):
    """Letters become labels, everything else is a target; eval is the validation split."""
    scenario = load_scenario("trace-8")
    for task in scenario.tasks:
        for part in ("train", "eval", "test"):
            rows = [{"prompt": f"{part} {i}?", "answer": "AB"[i % 2] + ".\n"} for i in range(4)]
            write_json(tmp_path / "trace" / task.name / f"{part}.json", rows)
    documented("trace")(tmp_path / "trace", tmp_path / "data")
    found = with_data(scenario, tmp_path / "data")
    letters, written = (found.tasks[i].load().validation for i in (0, 2))

    assert [task.score for task in found.tasks] == [
        *("accuracy", "accuracy", "rouge_l", "edit_similarity"),
        *("accuracy", "exact_match", "exact_match", "sari"),
    ]
    assert sorted(letters.column("target")) == ["A", "A", "B", "B"]
    assert sorted(written.column("target")) == ["A.\n", "A.\n", "B.\n", "B.\n"]


@pytest.mark.parametrize("name", ["superni-15", "trace-8"])
def test_what_only_a_folder_gives_says_so(name):
    """Without --data the first task says where its data is from and how to give it."""
    task = load_scenario(name).tasks[0]

    with pytest.raises(InputError, match=rf"{task.name}/train.*--data DIR.*docs/catalogue\.md"):
        task.load()


@pytest.mark.slow
def test_written_answers_to_the_end_of_a_run(tmp_path):
    """Two tasks of superni-15 on a small language model: R holds the means of the examples."""
    scenario = load_scenario("superni-15")[:2]
    make_superni(tmp_path / "sapt", [task.name for task in scenario.tasks])
    documented("superni")(tmp_path / "sapt", tmp_path / "data")
    train = {**QUICK["train"], "lr": 0.01, "epochs": 10}
    record = run(
        scenario,
        method="lora",
        out=tmp_path / "run",
        backbone="tiny-lm",
        data=tmp_path / "data",
        settings={**QUICK, "train": train},
    )
    last = [row for row in record.examples() if row.experience == 1]

    assert record.score_ids == ("rouge_l", "rouge_l")
    for j, task in enumerate(record.tasks):
        own = [row.correct for row in last if row.task == task]
        assert record.matrix()[1, j] == pytest.approx(np.mean(own))
    assert any(0.0 < row.correct < 1.0 for row in last)
    for flips in negative_flips(record):
        assert "rouge_l >= 0.5" in flips_table(flips).caption


@pytest.mark.slow
def test_pictures_in_folders_to_the_end_of_a_run(tmp_path):
    """The file of CIFAR-100 with four classes, on folders of PNGs of many sizes."""
    values = yaml.safe_load(catalogue()["split-cifar100-10"].read_text())
    values["split"] |= {"tasks": 2, "labels": list(LABELS), "class_order": list(LABELS)[::-1]}
    values["split"].pop("label_names")
    (tmp_path / "pets.yaml").write_text(yaml.safe_dump(values | {"name": "pets"}))
    for part, count in (("train", 20), ("test", 5)):
        make_pictures(tmp_path / "data" / "cifar100" / part, count)
    record = run(
        tmp_path / "pets.yaml",
        method="slora",
        out=tmp_path / "run",
        backbone="tiny-vit",
        data=tmp_path / "data",
        settings={**QUICK, "train": {**QUICK["train"], "epochs": 2, "micro_batch_size": 8}},
    )
    R = record.matrix()

    assert record.complete
    assert np.isnan(R[0, 1])
    assert np.isfinite(R[1]).all()
    assert {row.prediction for row in record.examples()} <= set(LABELS)
