"""A run directory, read back."""

import numpy as np
import pytest
import yaml

from continual.errors import InputError
from continual.records import DamagedFileError, RunRecord, ScoreRow, mark_complete, write_scores

CONFIG = {
    "scenario": "s",
    "method": "lora",
    "backbone": "b",
    "seed": 3,
    "tasks": [{"name": n, "kind": "text-classification", "score": "accuracy"} for n in "xy"],
    "probes": ["p"],
}


def row(experience, task, metric, value, step=0) -> ScoreRow:
    return ScoreRow(experience=experience, step=step, task=task, metric=metric, value=value, n=10)


@pytest.fixture
def folder(tmp_path):
    """A run that has finished its first of two experiences."""
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(CONFIG))
    rows = [
        row(-1, "x", "accuracy", 0.1),
        row(-1, "y", "accuracy", 0.2),
        row(-1, "x", "majority", 0.5),
        row(-1, "p", "probe_nats", 3.0),
        row(0, "x", "accuracy", 0.4, step=5),
        row(0, "x", "accuracy", 0.9, step=10),
        row(0, "x", "nats_per_token", 0.7, step=10),
        row(0, "p", "probe_nats", 3.5, step=10),
    ]
    write_scores(tmp_path, rows)
    return tmp_path


def test_an_unfinished_run_has_nan_where_it_has_not_been(folder):
    """The last step of an experience counts; what was not evaluated is NaN."""
    record = RunRecord.open(folder)

    np.testing.assert_array_equal(record.matrix(), [[0.9, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(record.baseline(), [0.1, 0.2])
    np.testing.assert_array_equal(record.majority(), [0.5, np.nan])
    np.testing.assert_array_equal(record.probes()["p"], [3.0, 3.5, np.nan])
    assert not record.complete
    assert (record.method, record.seed) == ("lora", 3)


def test_the_raw_rows_are_a_table(folder):
    """One column per field, one line per row."""
    frame = RunRecord.open(folder).frame()

    assert list(frame.columns) == ["experience", "step", "task", "metric", "value", "n"]
    assert len(frame) == 8


def test_a_folder_that_is_no_run_says_what_is_missing(tmp_path):
    """No run.yaml, no folder, or half a run.yaml."""
    with pytest.raises(InputError, match=r"no run\.yaml"):
        RunRecord.open(tmp_path)
    with pytest.raises(InputError, match="not a directory"):
        RunRecord.open(tmp_path / "none")
    (tmp_path / "run.yaml").write_text("scenario: s\n")
    with pytest.raises(InputError, match="lacks method, backbone, seed, tasks"):
        RunRecord.open(tmp_path)


def test_a_complete_run_without_scores_is_damaged(folder):
    """COMPLETE vouches for the scores."""
    mark_complete(folder)
    (folder / "scores.parquet").unlink()
    with pytest.raises(DamagedFileError, match=r"scores\.parquet is missing"):
        RunRecord.open(folder)
