"""Scores of R: worked numbers, laws, and what is said when an entry is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from continual.errors import InputError
from continual.metrics import METRICS, scores
from continual.metrics import transfer as t

R = np.array([[0.80, 0.10, 0.10], [0.90, 0.80, 0.12], [0.60, 0.85, 0.80]])
MATRICES = st.integers(2, 5).flatmap(lambda n: arrays(float, (n, n), elements=st.floats(0, 1)))


@pytest.mark.parametrize(
    ("function", "value"),
    [
        (t.forgetting_chaudhry2018, 0.125),
        (t.forgetting_first_last, 0.075),
        (t.forgetting_clamped, 0.150),
        (t.bwt_gem2017, -0.075),
        (t.bwt_all_pairs, -0.05 / 3),
        (t.average_accuracy, 0.75),
        (t.learning_accuracy, 0.80),
        (t.average_incremental_accuracy, (0.80 + 0.85 + 0.75) / 3),
        (t.min_accuracy, (0.60 + 0.85) / 2),
    ],
)
def test_worked_numbers(function, value):
    """Each definition on the matrix that is worked by hand."""
    assert function(R) == pytest.approx(value)


def test_forward_transfer_is_measured_against_the_untrained_model():
    """(0.10 - 0.05) and (0.12 - 0.20), averaged; b of the first task is not read."""
    assert t.fwt_gem2017(R, np.array([np.nan, 0.05, 0.20])) == pytest.approx(-0.015)


def test_intransigence_needs_joint_scores():
    """How far learning each task fell short of joint training."""
    assert t.intransigence(R, np.array([0.9, 0.9, 0.9])) == pytest.approx(0.1)


@given(MATRICES)
def test_laws_that_hold_for_every_matrix(matrix):
    """Definitions that are opposites, and bounds between them."""
    assert t.forgetting_first_last(matrix) == pytest.approx(-t.bwt_gem2017(matrix))
    assert t.forgetting_clamped(matrix) >= 0
    assert t.forgetting_clamped(matrix) >= t.forgetting_chaudhry2018(matrix) - 1e-12
    assert t.forgetting_chaudhry2018(matrix) >= t.forgetting_first_last(matrix) - 1e-12


@given(st.integers(2, 6), st.floats(0, 1))
def test_a_model_that_does_not_change_forgets_nothing(n, value):
    """Constant columns: every kind of forgetting and transfer is zero."""
    matrix = np.full((n, n), value)

    for function in (t.forgetting_chaudhry2018, t.forgetting_clamped, t.bwt_gem2017):
        assert function(matrix) == pytest.approx(0.0, abs=1e-12)
    assert t.fwt_gem2017(matrix, np.full(n, value)) == pytest.approx(0.0, abs=1e-12)


def test_what_was_not_evaluated_is_needed_only_where_the_formula_reads_it():
    """Class-incremental R has NaN above the diagonal; forgetting does not read there."""
    lower = np.where(np.tril(np.ones((3, 3), bool)), R, np.nan)
    found = scores(lower, np.full(3, np.nan))

    assert found["forgetting.chaudhry2018"] == pytest.approx(0.125)
    assert found["fwt.gem2017"] is None
    assert set(found) <= set(METRICS)


@pytest.mark.parametrize("id", ["forgetting.chaudhry2018", "forgetting.clamped", "bwt.all_pairs"])
def test_the_last_task_just_learned_is_not_an_earlier_one(id):
    """Its score has no later row to be compared with, so its absence undefines nothing."""
    hole = R.copy()
    hole[2, 2] = np.nan

    assert scores(hole)[id] == pytest.approx(scores(R)[id])
    assert scores(hole)["average_accuracy"] is None


@given(MATRICES, st.integers(0, 4))
def test_tasks_may_be_scored_in_percent(matrix, shift):
    """Every forgetting is linear in R and blind to what all scores share."""
    for function in (t.forgetting_chaudhry2018, t.forgetting_clamped, t.bwt_all_pairs):
        assert function(100 * matrix + shift) == pytest.approx(100 * function(matrix), abs=1e-9)


def test_a_dip_that_comes_back_is_a_gap_and_what_stays_away_is_not():
    """From .80 over .45 to .70: .25 came back, .10 is forgotten."""
    assert t.stability_gap(np.array([0.80, 0.45, 0.60, 0.70])) == pytest.approx(0.25)
    assert t.stability_gap(np.array([0.80, 0.75, 0.70])) == 0.0
    with pytest.raises(InputError, match="got 2 values"):
        t.stability_gap(np.array([0.8, 0.7]))


def test_a_missing_entry_is_named():
    """Experience and task, and what to do."""
    hole = R.copy()
    hole[1, 0] = np.nan
    with pytest.raises(InputError, match="score on task 0 after experience 1"):
        t.forgetting_chaudhry2018(hole)


def test_one_task_has_nothing_to_forget():
    """Its learning is scored, its forgetting is undefined."""
    found = scores(np.array([[0.7]]), np.array([0.2]))

    assert found["learning_accuracy"] == pytest.approx(0.7)
    assert found["forgetting.chaudhry2018"] is None
    with pytest.raises(InputError, match="single task"):
        t.bwt_gem2017(np.array([[0.7]]))


def test_a_matrix_that_is_not_square_is_refused():
    """Two rows, three columns: the shape is in the message."""
    with pytest.raises(InputError, match=r"\(2, 3\)"):
        t.average_accuracy(R[:2])


def test_every_definition_can_be_cited():
    """Id, formula, source and unit are there for every metric."""
    for id, metric in METRICS.items():
        assert id == metric.id
        assert all((metric.title, metric.formula, metric.source, metric.unit))
