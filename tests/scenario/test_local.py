"""Data given as a folder: found by names, written, checked, and equal to what it was made of."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from continual.errors import InputError
from continual.scenario import (
    HubSource,
    Limit,
    Probe,
    RowsSource,
    Scenario,
    Task,
    load_scenario,
    split_by_class,
    with_data,
)
from continual.scenario.layout import layout, survey
from continual.scenario.writing import write_data
from tests.scenario.conftest import make_rows


def write_rows(path: Path, rows: list[dict], packed: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    if packed:
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


@pytest.fixture(params=["cl-standard-4"])
def texts(request, tmp_path):
    """A folder with a few rows for every task of a scenario of the catalogue."""
    folder = tmp_path / "texts"
    for task in load_scenario(request.param).tasks:
        for part, count in (("train", 30), ("dev", 6), ("test", 8)):
            rows = make_rows(count, task.labels, f"{task.name} {part}")
            rows = [{**row, "source": "elsewhere"} for row in rows]
            write_rows(folder / task.name / f"{part}.jsonl.gz", rows, packed=True)
        (folder / task.name / "test_extra.jsonl.gz").write_bytes(b"")
        (folder / task.name / "task.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("name", "texts"), [(n, n) for n in ("cl-standard-4", "cl-long-15")], indirect=["texts"]
)
def test_the_papers_sequences_run_from_a_folder(texts, name):
    """Every task is found by its name, dev is the validation split, labels are the scenario's."""
    scenario = load_scenario(name, data=texts)

    assert scenario.data == str(texts)
    for task in scenario.tasks:
        data = task.load()
        assert (len(data.train), len(data.validation), len(data.test)) == (30, 6, 8)
        assert data.test[1].target == task.labels[1]
    assert scenario.probes == load_scenario(name).probes  # it comes with the library
    names = {task.name for task in scenario.tasks}
    assert names <= {row["name"] for row in survey(load_scenario(name), texts) if row["used"]}


def test_every_order_of_the_papers_is_there():
    """Orders 1 to 3 and 4 to 6 are permutations; the first is the file's own."""
    for name, orders in (("cl-standard-4", "123"), ("cl-long-15", "456")):
        scenario = load_scenario(name)
        assert list(scenario.orders) == [f"order-{n}" for n in orders]
        assert scenario.permuted(f"order-{orders[0]}").tasks == scenario.tasks
    assert load_scenario("cl-long-15", order="order-6").tasks[-1].name == "wic"


def test_no_prompt_of_the_papers_sequences_names_its_data_set():
    """The task is not given away by the name that the papers put before the text."""
    for name in ("cl-standard-4", "cl-long-15"):
        for task in load_scenario(name).tasks:
            assert task.name not in task.prompt.lower()
            assert task.prompt.endswith("{text}\nAnswer:")
            assert all(label in task.prompt for label in task.labels) or task.name == "copa"


def test_all_that_is_missing_is_said_at_once(texts):
    """One message has every file, with the path at which it is expected."""
    (texts / "amazon" / "train.jsonl.gz").unlink()
    (texts / "yahoo" / "test.jsonl.gz").write_bytes(b"")
    (texts / "agnews" / "test.jsonl.gz").rename(texts / "agnews" / "tset.jsonl.gz")
    write_rows(texts / "agnews" / "train.csv", make_rows(2))
    (texts / "dbpedia").rename(texts / "dbpedia14")

    with pytest.raises(InputError) as caught:
        load_scenario("cl-standard-4", data=texts)
    message = str(caught.value)
    assert "5 problem(s)" in message
    assert f"{texts}/dbpedia: no such folder" in message
    assert f"{texts}/amazon/train.EXT: missing" in message
    assert f"{texts}/yahoo/test.jsonl.gz: is empty" in message
    assert "2 files could be it: train.csv, train.jsonl.gz" in message
    assert "did you mean 'tset'" in message


def test_a_folder_that_is_another_is_recognised(tmp_path, texts):
    """A missing folder, and one with no folder of a task, are told apart."""
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        load_scenario("cl-standard-4", data=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no folder for any task .* it has \['texts'"):
        load_scenario("cl-standard-4", data=tmp_path)


def test_a_file_without_a_readable_format_is_named(texts):
    """What lies at the place of a split is said."""
    (texts / "agnews" / "test.jsonl.gz").rename(texts / "agnews" / "test.xlsx")
    with pytest.raises(InputError, match=r"test\.xlsx is there, and has no format"):
        load_scenario("cl-standard-4", data=texts)


def test_without_a_validation_file_a_share_of_train_is_used(texts):
    """It is the task's own fraction, chosen by content."""
    for path in texts.glob("*/dev.jsonl.gz"):
        path.unlink()
    data = load_scenario("cl-standard-4", data=texts).tasks[0].load()

    assert (len(data.train), len(data.validation)) == (27, 3)


def test_the_survey_reports_what_loading_would(texts):
    """A label that the scenario does not have is found before a run is."""
    write_rows(
        texts / "agnews" / "test.jsonl.gz", [{"text": "a", "label": "Sci/Tech"}], packed=True
    )
    rows = survey(load_scenario("cl-standard-4"), texts)
    problems = [row["problem"] for row in rows if row["problem"]]

    assert len(problems) == 1
    assert "'Sci/Tech' (1 rows)" in problems[0]
    assert sum(row["used"] or 0 for row in rows) == 3 * (30 + 6 + 8)


EMBEDDED = ["pydocs", "split-digits", pytest.param("pydocs-lm", marks=pytest.mark.slow)]


@pytest.mark.parametrize("name", EMBEDDED)
def test_what_is_written_and_read_again_is_equal(tmp_path, name):
    """Examples, ids, fingerprints and probes are those of the sources, order included."""
    scenario = load_scenario(name)[:2]
    again = with_data(scenario, write_data(scenario, tmp_path / "data"))

    for task, local in zip(scenario.tasks, again.tasks, strict=True):
        assert local.load().fingerprint == task.load().fingerprint
        for part in ("train", "validation", "test"):
            mine, theirs = getattr(task.load(), part), getattr(local.load(), part)
            assert list(mine) == list(theirs)
            if "image" in mine.columns:
                assert all(map(np.array_equal, mine.column("image"), theirs.column("image")))
    for probe, local in zip(scenario.probes, again.probes, strict=True):
        assert local.load().fingerprint == probe.load().fingerprint
        assert str(tmp_path) in local.source.file


def test_written_data_has_our_names_for_columns_and_labels(tmp_path):
    """Templates, translated labels, positions, ids and prompt columns are all resolved."""
    rows = [{"no": f"r{i}", "q": f"q{i}", "p": "x", "hint": i, "y": 3 * (i % 2)} for i in range(20)]
    task = Task(
        name="t",
        kind="text-classification",
        train=RowsSource(rows=rows),
        test=RowsSource(rows=rows[:6]),
        columns={"text": "{q}: {p}", "label": "y", "id": "no"},
        labels=("bad", "good"),
        label_names={"3": "good"},
        prompt="{hint} {text}",
        limit=Limit(train=10),
    )
    scenario = Scenario(name="s", tasks=(task,))
    folder = write_data(scenario, tmp_path / "data")
    local = with_data(scenario, folder).tasks[0].load()

    assert local.fingerprint == task.load().fingerprint
    assert local.test[1].id == "r1"
    assert task.load().test[1].label == 1
    with gzip.open(folder / "t" / "test.jsonl.gz", "rt") as file:
        assert json.loads(file.readlines()[1]) == {
            "text": "q1: x",
            "hint": "1",
            "label": "good",
            "id": "r1",
        }
    assert layout(scenario)[0]["columns"] == ["text", "label", "id", "hint"]


def test_images_in_files_are_written_into_the_table(tmp_path):
    """A folder of pictures becomes a parquet file that no longer needs it."""
    from PIL import Image

    from continual.scenario import FileSource

    for part in ("train", "test"):
        for label in ("dark", "light"):
            (tmp_path / "png" / "one" / part / label).mkdir(parents=True)
            for i in range(4):
                shade = i + 10 * (label == "light") + 30 * (part == "test")
                picture = Image.fromarray(np.full((4, 4), shade, dtype=np.uint8))
                picture.save(tmp_path / "png" / "one" / part / label / f"{i}.png")
    source = FileSource(file=str(tmp_path / "png" / "one" / "train"))
    task = Task(
        name="one",
        kind="image-classification",
        train=source,
        test=source,
        labels=("dark", "light"),
    )
    scenario = with_data(Scenario(name="s", tasks=(task,)), tmp_path / "png")
    before = scenario.tasks[0].load()
    pixels = before.train.column("image")
    folder = write_data(scenario, tmp_path / "data")
    (tmp_path / "png").rename(tmp_path / "gone")
    after = with_data(scenario, folder).tasks[0].load()

    assert after.fingerprint == before.fingerprint
    assert all(map(np.array_equal, after.train.column("image"), pixels))


def test_tasks_share_a_folder_only_where_they_are_one_data_set(rows):
    """Parts of one split do; tasks with a number behind their name and other data do not."""
    source = RowsSource(rows=rows(20, ("a", "b", "c", "d")))
    whole = Task(
        name="w", kind="text-classification", train=source, test=source, labels=tuple("abcd")
    )
    parts = split_by_class(whole, 2)
    other = replace(parts[1], train=RowsSource(rows=rows(30, ("c", "d"))))

    def folders(*tasks):
        return [row["folder"] for row in layout(Scenario(name="s", tasks=tasks))]

    assert folders(*parts) == ["w", "w"]
    assert folders(parts[0], other) == ["w-1", "w-2"]


def test_a_probe_of_the_hub_is_needed_and_a_line_is_a_document(texts):
    """`DIR/<probe>.txt` is read line by line; without it the message says where it belongs."""
    probe = Probe(name="wiki", source=HubSource(hub="x/y", split="test"))
    scenario = replace(load_scenario("cl-standard-4"), probes=(probe,))
    with pytest.raises(InputError, match=r"texts/wiki\.EXT: missing"):
        with_data(scenario, texts)

    (texts / "wiki.txt").write_text("one\n\ntwo\n")
    assert with_data(scenario, texts).probes[0].load().documents == ("one", "two")
    assert survey(scenario, texts)[-1]["used"] == 2
    (texts / "wiki.txt").unlink()
    write_rows(texts / "wiki.jsonl", [{"txet": "one"}])
    assert "probe 'wiki' has no column 'text'" in survey(scenario, texts)[-1]["problem"]


def test_writing_leaves_nothing_behind_where_it_fails(tmp_path, texts):
    """A source that cannot be read leaves no folder; an existing folder is not touched."""
    scenario = load_scenario("cl-standard-4", data=texts)
    (texts / "agnews" / "test.jsonl.gz").write_text("no gzip")
    with pytest.raises(InputError, match="cannot read"):
        write_data(scenario, tmp_path / "new" / "data")
    with pytest.raises(InputError, match="is not empty"):
        write_data(scenario, texts)
    assert list((tmp_path / "new").iterdir()) == []
