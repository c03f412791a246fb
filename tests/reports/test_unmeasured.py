"""A report says what it does not know."""

import numpy as np

from continual.records import RunRecord, ScoreRow, append_event, write_scores
from continual.reports.costs import cost_text, costs
from continual.reports.groups import group_runs
from continual.reports.unmeasured import unmeasured


def said(*directories):
    """All sentences as one text."""
    (group,) = group_runs([RunRecord.open(path) for path in directories])
    return " ".join(unmeasured(group))


def test_what_is_missing_is_said_with_the_way_to_have_it(make_run):
    """Gap, joint, intruders, cost."""
    text = said(make_run("lora"))

    for words in (
        "evaluation.steps",
        "no finished joint run",
        "evaluation.intruders",
        "codecarbon",
    ):
        assert words in text
    assert "entries of R" not in text
    assert "Perplexity drift" not in text


def test_entries_of_R_are_counted(make_run):
    """Those of rows that the run reached."""
    path = make_run("lora")
    rows = [r for r in RunRecord.open(path).score_rows if (r.experience, r.task) != (1, "news")]
    write_scores(path, rows)

    assert "1 of 9 entries of R of tasks already learned" in said(path)


def test_a_measured_thing_is_not_named(make_run):
    """Joint training, scores within an experience, intruders."""
    path = make_run("lora")
    rows = list(RunRecord.open(path).score_rows)
    rows.append(ScoreRow(experience=1, step=60, task="news", metric="accuracy", value=0.3, n=200))
    rows.append(
        ScoreRow(experience=2, step=150, task="q", metric="intruder_dimensions", value=1.0, n=4)
    )
    write_scores(path, rows)
    text = said(path, make_run("joint"))

    for words in ("stability gap of lora", "finished joint", "ntruder"):
        assert words not in text
    assert "stability gap of joint" in text


def test_no_probe_is_said(make_run):
    """Nothing about drift can be known."""
    assert "names no probe" in said(make_run("lora", probe=None))


def boundary(i, tokens, **more):
    """The event at the end of an experience."""
    return {
        "experience": i,
        "step": 10,
        "seconds": 10.0 * (i + 2),
        "training_seconds": 4.0 if i >= 0 else 1.0,
        "evaluation_seconds": 2.0,
        "training_tokens": tokens,
        "trained_numbers": 5,
        "stored_numbers": 6,
        **more,
    }


def test_costs_are_summed_over_experiences(make_run):
    """Tokens over seconds of learning; the largest memory; the sum of energies."""
    path = make_run("lora")
    for i, memory in ((-1, 7e6), (0, 9e6), (1, 8e6)):
        event = boundary(i, 400 * (i + 1), peak_memory_bytes=memory, energy_kwh=0.001)
        append_event(path, event)
    found = costs(RunRecord.open(path))

    assert found["tokens_per_second"] == 1200 / 8
    assert found["peak_memory_bytes"] == 9e6
    assert np.isclose(found["energy_kwh"], 0.003)
    assert np.isclose(found["evaluation_share"], 6.0 / (8.0 + 6.0))
    assert found["seconds"] == 30.0
    assert cost_text("evaluation_share", found["evaluation_share"]) == "43 %"


def test_energy_that_an_interrupted_run_lacks_is_not_guessed(make_run):
    """A sum over some experiences only would be too small."""
    path = make_run("lora")
    append_event(path, boundary(0, 1, energy_kwh=0.001))
    append_event(path, boundary(1, 1))

    assert "energy_kwh" not in costs(RunRecord.open(path))
