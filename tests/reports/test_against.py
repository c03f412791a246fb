"""Every method against one of them, and which experience hurt which task."""

import numpy as np
import pytest

from continual.errors import InputError
from continual.metrics import example_interval, holm, paired
from continual.records import RunRecord
from continual.reports.against import against_tables, baseline_of
from continual.reports.groups import group_runs
from continual.reports.harm import harm_tables
from continual.reports.tables import number_text


def _group(dirs):
    (group,) = group_runs([RunRecord.open(path) for path in dirs])
    return group


def _text(value: float) -> str:
    return number_text("bwt", value)


def test_differences_are_paired_by_seed_and_adjusted(make_run):
    """The cells hold what the functions say; runs without a partner are left out."""
    runs = {
        method: [make_run(method, seed) for seed in seeds]
        for method, seeds in {
            "curlora": range(7),
            "frozen": range(7),
            "lora": range(1, 8),
            "head-only": [9],
        }.items()
    }
    group = _group([path for paths in runs.values() for path in paths])
    accuracy, forgetting = against_tables(group)
    last = {
        method: {r.seed: r.matrix()[-1].mean() for r in map(RunRecord.open, paths)}
        for method, paths in runs.items()
    }
    found = {
        method: paired(
            [last[method][s] for s in range(1, 7)], [last["lora"][s] for s in range(1, 7)]
        )
        for method in ("curlora", "frozen")
    }
    adjusted = dict(zip(found, holm([f.p for f in found.values()]), strict=True))

    assert "against lora" in accuracy.caption
    assert [row[0] for row in accuracy.rows] == ["curlora", "frozen"]
    for row in accuracy.rows:
        pair = found[row[0]]
        assert row[1] == "6"
        assert row[2].split("\n")[0] == _text(pair.difference.mean)
        assert row[5] == f"{pair.p:.3f}\n{adjusted[row[0]]:.3f}"
    assert "lora" not in {row[0] for row in forgetting.rows}


def test_the_interval_over_examples_is_of_the_same_examples(make_run):
    """Of the first seed that both have."""
    curlora, lora = make_run("curlora", 3), make_run("lora", 3)
    sides = []
    for path in (curlora, lora):
        rows = [row for row in RunRecord.open(path).examples() if row.experience == 2]
        by_task = {}
        for row in sorted(rows, key=lambda row: row.id):
            by_task.setdefault(row.task, []).append(row.correct)
        sides.append({task: np.array(values) for task, values in by_task.items()})
    low, high = example_interval(*sides)
    accuracy, _ = against_tables(_group([curlora, lora]))

    assert accuracy.rows[0][3] == f"[{_text(low)}, {_text(high)}]\nseed 3"


def test_few_seeds_are_never_called_better(make_run):
    """Three seeds of methods that differ by much."""
    group = _group([make_run(m, s) for m in ("joint", "frozen") for s in range(3)])
    for table in against_tables(group):
        assert all("fewer than 6" in row[-1] for row in table.rows)


def test_the_baseline_may_be_named(make_run):
    """By method or label; an unknown one is answered with the known ones."""
    group = _group([make_run(m) for m in ("curlora", "frozen", "lora")])

    assert baseline_of(group, None).label == "lora"
    assert baseline_of(group, "frozen").label == "frozen"
    with pytest.raises(InputError, match=r"unknown baseline 'curlra'.*did you mean 'curlora'"):
        baseline_of(group, "curlra")
    assert against_tables(_group([make_run("lora", 5)])) == ()


def test_harm_is_told_by_experience_and_task(make_run):
    """Differences down the rows of R, means over seeds; the worst is named."""
    paths = [make_run("lora", seed) for seed in (0, 1)]
    (table,) = harm_tables(_group(paths))
    R = np.mean([RunRecord.open(path).matrix() for path in paths], axis=0)

    assert table.rows[0] == (
        "learning reviews-of-long-running-products",
        _text(R[1, 0] - R[0, 0]),
        "–",
    )
    assert table.rows[1][1:] == (_text(R[2, 0] - R[1, 0]), _text(R[2, 1] - R[1, 1]))
    changes = {
        (0, 1): R[1, 0] - R[0, 0],
        (0, 2): R[2, 0] - R[1, 0],
        (1, 2): R[2, 1] - R[1, 1],
    }
    task, by = min(changes, key=changes.get)
    names = RunRecord.open(paths[0]).tasks
    assert table.caption.endswith(f"most: {names[task]} by {names[by]}")
