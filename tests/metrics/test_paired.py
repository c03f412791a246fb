"""Paired comparisons against scipy, by hand and by simulation."""

import numpy as np
import pytest
from scipy import stats

from continual.errors import InputError
from continual.metrics import estimate, example_interval, holm, paired, words


def test_the_difference_is_paired_by_seed():
    """Mean, interval, p and effect of the differences, as scipy has them."""
    rng = np.random.default_rng(0)
    theirs = rng.uniform(0.4, 0.8, 8)
    mine = theirs + rng.normal(0.05, 0.02, 8)
    found = paired(mine.tolist(), theirs.tolist())
    differences = np.round(mine - theirs, 12)

    assert found.difference == estimate(differences.tolist())
    assert found.p == pytest.approx(stats.wilcoxon(differences).pvalue)
    assert found.effect == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert found.least_p == 2 / 2**8


def test_equal_runs_differ_by_nothing():
    """No p-value below one, no effect."""
    found = paired([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])

    assert (found.difference.mean, found.p, found.effect) == (0.0, 1.0, None)


def test_what_rounding_leaves_is_no_difference():
    """Equal differences are ties, and 0.1 + 0.2 is 0.3."""
    tied = paired([0.7, 0.8, 0.9, 0.4], [0.65, 0.75, 0.85, 0.45])

    assert paired([0.1 + 0.2] * 6, [0.3] * 6).p == 1.0
    assert tied.p == 0.625  # 10 of 16 ways to give four equal ranks a sign are as uneven


@pytest.mark.parametrize(
    ("n", "p", "expected"),
    [
        (5, 0.01, "not distinguishable with 5 seeds (fewer than 6 cannot reach p < 0.05)"),
        (6, 0.04, "better with 6 seeds"),
        (6, 0.05, "not distinguishable with 6 seeds"),
    ],
)
def test_words_say_what_the_test_says(n, p, expected):
    """And turn round where lower is better."""
    found = paired([0.8 + 0.01 * k for k in range(n)], [0.7] * n)

    assert words(found, p) == expected
    turned = words(found, p, higher_is_better=False)
    assert turned == expected.replace("better", "worse")


def test_holm_steps_down():
    """Worked by hand: 4 p-values in no order, ties, and never above one."""
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_keeps_the_familywise_error():
    """Of four true null hypotheses at least one is rejected in at most 5 % of worlds."""
    rng = np.random.default_rng(1)
    worlds = rng.uniform(size=(4000, 4))
    rejected = np.mean([min(holm(p.tolist())) < 0.05 for p in worlds])

    assert rejected < 0.05 + 4 * (0.05 * 0.95 / 4000) ** 0.5


@pytest.mark.slow
def test_the_example_interval_covers():
    """Of two methods of known accuracy, in about 95 % of drawn test sets."""
    rng = np.random.default_rng(2)
    truth, inside = 0.7 - 0.6, 0
    for world in range(60):
        answers = [
            {f"t{j}": (rng.uniform(size=80) < p).astype(float) for j in range(2)}
            for p in (0.7, 0.6)
        ]
        low, high = example_interval(*answers, seed=world)
        inside += low <= truth <= high

    assert inside / 60 >= 0.87  # three standard errors below 95 %


def test_shared_mistakes_cancel():
    """Examples are drawn for both at once: equal answers have no interval."""
    answers = {"a": np.array([1.0, 0.0, 1.0, 0.0])}

    assert example_interval(answers, answers) == (0.0, 0.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: paired([0.1], [0.1, 0.2]),
        lambda: paired([], []),
        lambda: example_interval({"a": np.ones(1)}, {"b": np.ones(1)}),
        lambda: example_interval({"a": np.ones(1)}, {"a": np.ones(2)}),
        lambda: example_interval({}, {}),
    ],
)
def test_what_cannot_be_paired(call):
    """Other seeds, tasks or examples."""
    with pytest.raises(InputError):
        call()
