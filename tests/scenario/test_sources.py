"""Every kind of source gives the same rows, quietly, or says what to fix."""

import gzip
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from continual.errors import InputError
from continual.scenario import CallableSource, FileSource, HubSource, Rows, RowsSource, Task
from continual.scenario.reading import read
from tests.scenario.conftest import make_rows

ROWS = make_rows(6)


def from_function(word: str = "film"):
    """Rows for CallableSource, with a version."""
    return Rows(rows=make_rows(6, word=word), versions={"words": "1.0"})


def no_rows():
    """Not rows at all."""
    return 3


def write_json_lines(path):
    lines = "".join(json.dumps(row) + "\n" for row in ROWS)
    with gzip.open(path, "wt") if path.suffix == ".gz" else open(path, "w") as file:
        file.write(lines)


def write_separated(path, separator):
    lines = [separator.join(["text", "label"]), *(separator.join(row.values()) for row in ROWS)]
    path.write_text("\n".join(lines))


def write_parquet(path):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)


WRITERS = {
    "a.csv": lambda path: write_separated(path, ","),
    "a.tsv": lambda path: write_separated(path, "\t"),
    "a.json": lambda path: path.write_text(json.dumps(ROWS)),
    "a.jsonl": write_json_lines,
    "a.jsonl.gz": write_json_lines,
    "a.parquet": write_parquet,
}


def task_of(source, **changes):
    values = {"name": "t", "kind": "text-classification", "labels": ("pos", "neg")}
    return Task(**{**values, "train": source, "test": source, **changes})


@pytest.mark.parametrize("name", WRITERS)
def test_tables_of_every_format(tmp_path, datasets_cache, name):
    """A file gives the rows that were written to it, and caches where datasets does."""
    WRITERS[name](tmp_path / name)
    dataset, _ = read(FileSource(file=str(tmp_path / name)))

    assert dataset.to_list() == ROWS
    assert datasets_cache.is_dir()


@pytest.mark.parametrize(("sample_by", "count"), [("line", 4), ("paragraph", 2), ("document", 1)])
def test_text_files(tmp_path, sample_by, count):
    """A row of a text file is a line, a paragraph or all of it."""
    (tmp_path / "a.txt").write_text("one\ntwo\n\nthree\n")
    dataset, _ = read(FileSource(file=str(tmp_path / "a.txt"), sample_by=sample_by))

    assert len(dataset) == count


def test_image_folders(tmp_path):
    """Folders are labels, also one called test; images become arrays."""
    from PIL import Image

    for label in ("cat", "test"):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for i in range(3):
            pixels = np.full((4, 5), 40 * i + len(label), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / label / f"{i}.png")
    source = FileSource(file=str(tmp_path / "pictures"))
    data = task_of(source, kind="image-classification", labels=("cat", "test")).load()

    assert len(data.test) == 6
    assert sorted(data.test.column("label")) == [0, 0, 0, 1, 1, 1]
    assert data.test[0].image.shape == (4, 5)


def test_words_that_pandas_calls_missing_are_words(tmp_path):
    """NA, null and None in a csv file are labels like any other."""
    (tmp_path / "a.csv").write_text("text,label\nx,NA\ny,null\nz,None\n")
    source = FileSource(file=str(tmp_path / "a.csv"))

    assert task_of(source, labels=("NA", "null", "None")).load().test.column("label") == [0, 1, 2]


def test_a_changed_file_is_read_again(tmp_path):
    """What was remembered of a file does not outlive the file's content."""
    path = tmp_path / "a.csv"
    write_separated(path, ",")
    task = task_of(FileSource(file=str(path)))
    before = task.load()
    path.write_text("text,label\nx,pos\ny,neg\n")
    os.utime(path, (1, 1))

    assert (len(before.test), len(task.load().test)) == (6, 2)


def test_callables_give_rows_and_versions(datasets_cache):
    """A function is called with its parameters; its versions reach the task; no cache is left."""
    source = CallableSource(callable=f"{__name__}:from_function", params={"word": "book"})
    data = task_of(source).load()

    assert data.test[0].text.startswith("book")
    assert data.versions == {"words": "1.0"}
    assert not datasets_cache.exists()


def test_a_module_beside_the_scenario_is_found(tmp_path):
    """A callable's module may lie in the folder of the YAML file."""
    (tmp_path / "my_rows_for_test.py").write_text("def rows():\n    return [{'text': 'x'}]\n")
    dataset, _ = read(CallableSource(callable="my_rows_for_test:rows", folder=str(tmp_path)))

    assert dataset[0] == {"text": "x"}


def test_rows_in_memory_are_values(datasets_cache):
    """Rows and a Dataset are compared by content, and leave nothing on disk."""
    from datasets import Dataset

    first, second = Dataset.from_list(ROWS), Dataset.from_list(ROWS[::-1]).select(range(5, -1, -1))
    own = [dict(row) for row in ROWS]
    source = RowsSource(rows=own)
    own[0]["text"] = "changed later"

    assert RowsSource(rows=first) == RowsSource(rows=second)
    assert source == RowsSource(rows=ROWS)
    assert len(repr(source)) < 60
    assert task_of(RowsSource(rows=first)).load().test.column("text") == [r["text"] for r in ROWS]
    assert not datasets_cache.exists()


def test_progress_bars_are_silent_and_then_as_before(tmp_path, capfd):
    """Reading a file prints nothing and leaves the settings of datasets alone."""
    import datasets

    write_json_lines(tmp_path / "a.jsonl")
    before = datasets.are_progress_bars_disabled()
    read(FileSource(file=str(tmp_path / "a.jsonl")))
    captured = capfd.readouterr()

    assert captured.out + captured.err == ""
    assert datasets.are_progress_bars_disabled() == before


def test_the_hub_offline_names_the_fix(monkeypatch):
    """Without a network the message says what is set and what to do."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source = HubSource(hub="nobody/nothing-at-all", split="train", config="main")

    with pytest.raises(
        InputError, match=r"'nobody/nothing-at-all' \(main\).*HF_HUB_OFFLINE is set"
    ):
        task_of(source).load()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: FileSource(file=str(p / "b.csv")), "does not exist; did you mean 'a.csv'"),
        (lambda p: FileSource(file=str(p / "no" / "b.csv")), "nor does its folder"),
        (lambda p: FileSource(file="notes.docx"), "cannot tell the format"),
        (lambda p: FileSource(file=str(p / "bad.json")), "as json: JSON parse error"),
        (lambda p: FileSource(file=str(p / "bad.parquet")), "as parquet"),
        (lambda p: CallableSource(callable="json.loads"), "must be 'module:function'"),
        (lambda p: CallableSource(callable="no_such_module:f"), "PYTHONPATH"),
        (lambda p: CallableSource(callable=f"{__name__}:from_funktion"), "mean 'from_function'"),
        (
            lambda p: CallableSource(callable=f"{__name__}:from_function", params={"wrd": 1}),
            "its parameters are: word",
        ),
        (lambda p: CallableSource(callable=f"{__name__}:no_rows"), "got int"),
        (lambda p: RowsSource(rows=["a", "b"]), "got list of str"),
        (lambda p: RowsSource(rows=[{"text": "a"}, {"text": 3}]), "do not form a table"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, make, message, capfd):
    """Every unusable source ends in an InputError, and nothing else is printed."""
    write_separated(tmp_path / "a.csv", ",")
    (tmp_path / "bad.json").write_text("{nope")
    (tmp_path / "bad.parquet").write_text("nope")

    with pytest.raises(InputError, match=message):
        task_of(make(tmp_path)).load()
    assert capfd.readouterr().err == ""


def test_sources_of_one_task_may_differ(tmp_path):
    """Train from a file and test from memory is one task."""
    write_json_lines(tmp_path / "a.jsonl")
    task = task_of(FileSource(file=str(tmp_path / "a.jsonl")))
    mixed = replace(task, test=RowsSource(rows=make_rows(3, word="other")))

    assert (len(mixed.load().train), len(mixed.load().test)) == (5, 3)
