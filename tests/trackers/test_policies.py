"""What is evaluated when: policies, samples, and looks within an experience."""

import math
from itertools import pairwise

import numpy as np
import pytest

from continual.metrics.transfer import stability_gap
from continual.runs.assemble import run
from continual.trackers.retained import sampled, standard_error
from tests.runs.test_run import CrashAt, CrashError, content
from tests.sequences import QUICK, small_scenario


def quick(**evaluation):
    return {**QUICK, "evaluation": {**QUICK["evaluation"], **evaluation}}


def test_the_lower_triangle_leaves_the_future_out(tmp_path):
    """Before training everything; the numbers that are there are those of a full evaluation."""
    full = run(small_scenario(3), "lora", out=tmp_path / "f", settings=quick()).matrix()
    record = run(small_scenario(3), "lora", out=tmp_path / "l", settings=quick(policy="lower"))
    R = record.matrix()

    assert np.isfinite(record.baseline()).all()
    assert np.isnan(R[np.triu_indices(3, 1)]).all()
    lower = np.tril_indices(3)
    np.testing.assert_array_equal(R[lower], full[lower])


def test_every_second_experience(tmp_path):
    """In between the task just learned alone; after the last one all of them."""
    record = run(small_scenario(3), "lora", out=tmp_path / "r", settings=quick(every=2))
    R = record.matrix()

    assert np.isfinite(R).tolist() == [[True, False, False], [True] * 3, [True] * 3]


def test_a_sample_is_fixed_and_states_its_error(tmp_path):
    """Chosen by ids: the same in every run; its error is that of drawing without replacement."""
    split = small_scenario(1)[0].task.load().test
    ids = sampled(split, 5).column("id")
    record = run(small_scenario(1), "lora", out=tmp_path / "r", settings=quick(sample=5))
    rows = [row for row in record.score_rows if row.metric == "standard_error"]
    correct = [one.correct for one in record.examples() if one.experience == 0]

    assert ids == sampled(split, 5).column("id")
    assert set(ids) <= set(split.column("id"))
    assert {one.id for one in record.examples()} == set(ids)
    assert [row.n for row in rows] == [5, 5]
    expected = np.std(correct, ddof=1) / math.sqrt(5) * math.sqrt(1 - 5 / 8)
    assert rows[-1].value == pytest.approx(expected)


def test_the_standard_error_is_that_of_all_samples():
    """Against every possible sample of a small population."""
    from itertools import combinations

    population = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    samples = list(combinations(population, 4))
    spread = np.var([np.mean(s) for s in samples])
    estimated = np.mean([standard_error(s, 6) ** 2 for s in samples])

    assert estimated == pytest.approx(spread)


def test_looks_within_an_experience_give_the_stability_gap(tmp_path):
    """Earlier tasks and probes every two steps; R is what it is without them."""
    plain = run(small_scenario(3), "lora", out=tmp_path / "p", settings=quick())
    record = run(small_scenario(3), "lora", out=tmp_path / "w", settings=quick(steps=2))
    rows = record.curve("weather")
    gaps = record.gaps()

    np.testing.assert_array_equal(record.matrix(), plain.matrix())
    moments = [(row.experience, row.step) for row in rows]
    assert moments == [(-1, 0), (0, 3), (1, 2), (1, 3), (2, 2), (2, 3)]
    assert all(a < b for a, b in pairwise(moments))
    assert np.isfinite(gaps).tolist() == np.tri(3, k=-1, dtype=bool).tolist()
    assert gaps[1, 0] == stability_gap(record.within(1, "weather"))
    assert np.isnan(plain.gaps()).all()


@pytest.mark.slow
def test_a_run_that_looks_within_can_be_interrupted(tmp_path):
    """The same bytes, wherever it was ended."""
    settings = quick(steps=2, sample=6, every=2)
    run(small_scenario(2), "nlora", out=tmp_path / "whole", settings=settings)
    torn, crashes = tmp_path / "torn", 0
    for n in (6, 9, 10, 11, 12, 13, 15):
        try:
            run(small_scenario(2), "nlora", out=torn, settings=settings, reporter=CrashAt(n))
            break
        except CrashError:
            crashes += 1
    run(small_scenario(2), "nlora", out=torn, settings=settings)

    assert crashes >= 2
    assert content(torn) == content(tmp_path / "whole")
