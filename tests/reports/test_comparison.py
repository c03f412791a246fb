"""Which runs are averaged, and what is said about the rest."""

import numpy as np
import yaml

from continual.records import RunRecord
from continual.reports.comparison import comparison_tables, estimates
from continual.reports.groups import group_runs
from continual.reports.verdict import verdicts, warnings


def _group(dirs):
    (group,) = group_runs([RunRecord.open(path) for path in dirs])
    return group


def test_seeds_of_one_method_are_one_line_with_their_number(make_run):
    """The mean over three seeds is the mean of the three runs."""
    group = _group([make_run("curlora", seed) for seed in (0, 1, 2)])
    found = estimates(group)

    assert [runs.label for runs in group.methods] == ["curlora"]
    assert found["curlora"]["average_accuracy"].n == 3
    expected = np.mean([record.matrix()[-1].mean() for record in group.records])
    assert abs(found["curlora"]["average_accuracy"].mean - expected) < 1e-12


def test_another_setting_is_another_line(make_run):
    """Two ranks, or two sets of adapted layers, are never averaged; labels say which is which."""
    wide = make_run("lora", 2)
    config = yaml.safe_load((wide / "run.yaml").read_text())
    (wide / "run.yaml").write_text(yaml.safe_dump({**config, "targets": ["c_attn"]}))
    group = _group([make_run("lora", 0), make_run("lora", 1, options={"rank": 16}), wide])

    labels = [runs.label for runs in group.methods]
    assert len(set(labels)) == 3
    assert any("rank=16" in label for label in labels)
    assert any("targets=c_attn" in label for label in labels)


def test_scores_stand_apart_from_drift_and_cost(make_run):
    """Forgetting is in the table of learning accuracy, whose last lines are the baselines."""
    group = _group([make_run("lora"), make_run("frozen")])
    scored, cost = comparison_tables(group, estimates(group))

    header = " ".join(scored.columns)
    assert "learning_accuracy" in header
    assert "forgetting.chaudhry2018" in header
    assert [row[0] for row in scored.rows[-2:]] == ["before training", "majority class"]
    assert "drift.nats_per_token" in " ".join(cost.columns)
    assert "trained numbers" in cost.columns


def test_intransigence_is_told_where_joint_training_was_run(make_run):
    """It compares with the joint run of the same seed, and is not told of joint itself."""
    found = estimates(_group([make_run("lora", 0), make_run("joint", 0)]))

    assert "intransigence" in found["lora"]
    assert "intransigence" not in found["joint"]


def test_a_method_that_learned_nothing_is_not_praised_for_forgetting_nothing(make_run):
    """The sentence says what it began with."""
    group = _group([make_run("frozen", seed) for seed in (0, 1, 2)])
    (sentence,) = verdicts(group, estimates(group))

    assert "frozen learned nothing" in sentence


def test_one_seed_given_twice_is_said(make_run):
    """Copies of a run would make an interval narrow."""
    careful = " ".join(warnings(_group([make_run("lora", 0), make_run("lora", 0)])))

    assert "more than once with seed 0" in careful


def test_runs_on_other_data_are_said(make_run):
    """Fingerprints that differ mean that the numbers cannot be compared."""
    other = make_run("curlora", environment={"fingerprints": {"news": "ffff"}})
    careful = " ".join(warnings(_group([make_run("lora"), other])))

    assert "did not use the same data" in careful
    assert "news" in careful
