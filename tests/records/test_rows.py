"""The two tables of a run."""

import pyarrow
import pytest
from pyarrow import parquet

from continual.errors import InputError
from continual.records import DamagedFileError, ExampleRow, ScoreRow
from continual.records.rows import read_rows, write_rows

SCORE = ScoreRow(experience=0, step=7, task="t", metric="accuracy", value=0.1 + 0.2, n=5)
EXAMPLE = ExampleRow(experience=-1, task="t", id="a", prediction="ü\n", correct=1.0, nats=0.5)


@pytest.mark.parametrize("row", [SCORE, EXAMPLE], ids=["score", "example"])
def test_rows_come_back_in_order_and_bit_for_bit(tmp_path, row):
    """Also none at all."""
    for rows in ((row, row), ()):
        write_rows(tmp_path / "x.parquet", type(row), rows)
        assert read_rows(tmp_path / "x.parquet", type(row)) == rows


@pytest.mark.parametrize("keep", [0, 10, -4])
def test_a_cut_file_is_named_with_the_way_on(tmp_path, keep):
    """Empty, a few bytes, or without its end."""
    path = tmp_path / "scores.parquet"
    write_rows(path, ScoreRow, [SCORE])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFileError, match=r"scores\.parquet is damaged .*continue the run"):
        read_rows(path, ScoreRow)


def test_another_table_is_not_this_one(tmp_path):
    """Examples where scores are expected."""
    write_rows(tmp_path / "scores.parquet", ExampleRow, [EXAMPLE])
    with pytest.raises(DamagedFileError, match="damaged"):
        read_rows(tmp_path / "scores.parquet", ScoreRow)


@pytest.mark.parametrize("value", [None, "much"])
def test_a_table_with_holes_or_words_for_numbers_is_damaged(tmp_path, value):
    """A null or a word in a column of numbers."""
    columns = {"experience": [0], "step": [7], "task": ["t"], "metric": ["accuracy"]}
    table = pyarrow.table({**columns, "value": [value], "n": [5]})
    parquet.write_table(table, tmp_path / "scores.parquet")
    with pytest.raises(DamagedFileError, match="damaged"):
        read_rows(tmp_path / "scores.parquet", ScoreRow)


def test_columns_of_others_are_left_alone(tmp_path):
    """A table that was given another column, or another order, is still the table."""
    columns = {"note": ["mine"], "n": [5], "value": [0.5], "metric": ["accuracy"], "task": ["t"]}
    table = pyarrow.table({**columns, "step": [7], "experience": [0]})
    parquet.write_table(table, tmp_path / "scores.parquet")

    assert read_rows(tmp_path / "scores.parquet", ScoreRow)[0].value == 0.5


def test_a_missing_table_is_missing(tmp_path):
    """The message says how to get it."""
    with pytest.raises(InputError, match="does not exist"):
        read_rows(tmp_path / "scores.parquet", ScoreRow)


def test_rows_before_the_beginning_are_refused():
    """Experience -1 is before training; -2 is nothing."""
    with pytest.raises(InputError, match="counts from 0"):
        ScoreRow(experience=-2, step=0, task="t", metric="accuracy", value=0.0, n=1)
