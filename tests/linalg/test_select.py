"""Rows and columns are chosen as the policy says, and always the same ones."""

import itertools

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from continual.errors import InputError
from continual.linalg import POLICIES, ranked, select, svd
from tests.linalg.spectra import matrices, with_spectrum

RNG = np.random.default_rng(0)
PINNED_COLUMNS = [0, 1, 2, 16, 19]
PINNED_ROWS = [0, 1, 2, 5, 7]
WEIGHT = RNG.normal(size=(12, 20)) * np.exp(RNG.normal(size=20))
DISTINCT = [policy for policy in POLICIES if policy != "inverse_norm_published"]


@pytest.mark.parametrize("policy", DISTINCT)
@settings(max_examples=30)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**63), st.data())
def test_indices_are_distinct_sorted_and_in_range(policy, m, n, seed, data):
    """K different indices in increasing order, whatever the matrix."""
    axis = data.draw(st.sampled_from([0, 1]))
    k = data.draw(st.integers(1, (m, n)[axis]))
    matrix = np.random.default_rng(seed).normal(size=(m, n))

    picks = select(matrix, k, axis=axis, policy=policy, seed=seed)

    assert picks.dtype == np.int64
    assert len(picks) == k
    assert (np.diff(picks) > 0).all()
    assert picks[0] >= 0
    assert picks[-1] < (m, n)[axis]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("axis", [0, 1])
def test_picks_do_not_depend_on_memory_layout_container_or_history(policy, axis):
    """Fortran order, strides, a torch tensor or an earlier call change nothing."""
    matrix = WEIGHT.astype(np.float32)
    picks = select(matrix, 5, axis=axis, policy=policy, seed=3)

    wide = np.zeros((24, 40), np.float32)
    wide[::2, ::2] = matrix
    np.random.default_rng().normal(size=5)

    for same in (np.asfortranarray(matrix), wide[::2, ::2], torch.tensor(matrix), matrix.tolist()):
        assert (select(same, 5, axis=axis, policy=policy, seed=3) == picks).all()


@pytest.mark.parametrize("policy", ["min_norm", "qrcp"])
def test_rows_are_the_columns_of_the_transpose(policy):
    """Policies without chance treat both axes alike."""
    assert (
        select(WEIGHT, 4, axis=0, policy=policy) == select(WEIGHT.T, 4, axis=1, policy=policy)
    ).all()


def test_min_norm_takes_the_weakest():
    """The k columns of least energy."""
    weakest = np.sort(np.argsort(np.linalg.norm(WEIGHT, axis=0))[:6])

    assert (select(WEIGHT, 6, axis=1, policy="min_norm") == weakest).all()


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "power"), [("inverse_norm", -1), ("norm", 1), ("uniform", 0)])
def test_draws_follow_the_exact_law(policy, power):
    """Pairs are drawn with the probabilities of successive draws without replacement."""
    matrix = np.diag(np.sqrt([1.0, 2.0, 4.0, 8.0]))
    weight = np.array([1.0, 2.0, 4.0, 8.0]) ** power
    weight = weight / weight.sum()
    expected = {
        (i, j): weight[i] * weight[j] * (1 / (1 - weight[i]) + 1 / (1 - weight[j]))
        for i, j in itertools.combinations(range(4), 2)
    }
    draws = 8000

    seen = [tuple(select(matrix, 2, axis=1, policy=policy, seed=s)) for s in range(draws)]

    for pair, probability in expected.items():
        deviation = np.sqrt(probability * (1 - probability) / draws)
        assert abs(seen.count(pair) / draws - probability) < 4.5 * deviation


def test_picks_stay_the_same_from_release_to_release():
    """Pinned indices: a change here would break every saved CURLoRA adapter."""
    matrix = np.outer(np.arange(1.0, 13.0), np.arange(1.0, 21.0))

    assert select(matrix, 5, axis=1, seed=7).tolist() == PINNED_COLUMNS
    assert select(matrix, 5, axis=0, seed=7).tolist() == PINNED_ROWS


def test_empty_columns_are_the_weakest_and_break_nothing():
    """A zero column has the floor's share, so inverse_norm finds it first."""
    matrix = np.ones((4, 6))
    matrix[:, [1, 4]] = 0.0

    assert select(matrix, 2, axis=1, policy="inverse_norm", seed=0).tolist() == [1, 4]
    for policy in POLICIES:
        assert len(select(np.zeros((3, 5)), 5, axis=1, policy=policy)) == 5


@pytest.mark.parametrize("policy", DISTINCT)
@settings(max_examples=60)
@given(matrices(), st.data())
def test_every_spectrum_and_scale_is_chosen_from(policy, matrix, data):
    """Distinct indices, k of them, also beyond the rank; ``select`` sorts what was ranked."""
    axis = data.draw(st.sampled_from([0, 1]))
    k = data.draw(st.integers(1, matrix.shape[axis]))

    order = ranked(matrix, k, axis=axis, policy=policy, seed=1)

    assert len(set(order.tolist())) == k
    assert order.dtype == np.int64
    assert (select(matrix, k, axis=axis, policy=policy, seed=1) == np.sort(order)).all()


def test_the_published_draw_is_numpys_with_repeats():
    """Index for index what RandomState.choice gives for 1 / (p + 0.001)."""
    share = np.square(WEIGHT).sum(axis=0) / np.square(WEIGHT).sum()
    weight = (1 / (share + 0.001)).astype(np.float32)
    weight = (weight / weight.sum()).astype(float)

    expected = np.random.RandomState(11).choice(20, size=15, p=weight / weight.sum())
    picks = ranked(WEIGHT, 15, axis=1, policy="inverse_norm_published", seed=11)

    assert picks.tolist() == expected.tolist()
    assert len(set(picks.tolist())) < 15  # repeats: what the paper's code does


@pytest.mark.parametrize("policy", ["deim", "qdeim", "maxvol", "leverage_top"])
def test_policies_on_singular_vectors_against_the_slow_and_obvious(policy):
    """DEIM by its definition, Q-DEIM by pivoted QR, leverage by sorting."""
    matrix = with_spectrum(14, 11, 0.8 ** np.arange(11.0), 3)
    V = svd(matrix, 4).Vt.T
    obvious = [int(np.abs(V[:, 0]).argmax())]
    for j in range(1, 4):
        c = np.linalg.solve(V[obvious, :j], V[obvious, j])
        obvious.append(int(np.abs(V[:, j] - V[:, :j] @ c).argmax()))
    pivots = scipy.linalg.qr(V.T, pivoting=True)[2][:4]
    leverage = np.argsort(-np.square(V).sum(axis=1))[:4]

    order = ranked(matrix, 4, axis=1, policy=policy).tolist()

    if policy == "maxvol":  # no single swap gains more than 5 percent
        assert np.abs(V @ np.linalg.inv(V[order])).max() <= 1.05 + 1e-9
    else:
        expected = {"deim": obvious, "qdeim": pivots.tolist(), "leverage_top": leverage.tolist()}
        assert order == expected[policy]


def test_maxvol_improves_on_where_it_starts():
    """Its volume is at least that of DEIM's choice."""
    matrix = RNG.normal(size=(60, 50))
    V = svd(matrix, 8).Vt.T

    volume = {
        policy: abs(np.linalg.det(V[select(matrix, 8, axis=1, policy=policy)]))
        for policy in ("deim", "maxvol")
    }

    assert volume["maxvol"] >= volume["deim"]


@pytest.mark.slow
def test_leverage_is_drawn_in_proportion_to_the_scores():
    """One column, many seeds, against the exact law."""
    matrix = with_spectrum(6, 4, np.array([4.0, 2.0, 1e-6, 1e-6]), 5)
    scores = np.square(svd(matrix, 1).Vt[0])
    draws = 4000

    seen = [ranked(matrix, 1, axis=1, policy="leverage", seed=s)[0] for s in range(draws)]

    for column in range(4):
        p = scores[column]
        deviation = np.sqrt(p * (1 - p) / draws) + 1e-9
        assert abs(seen.count(column) / draws - p) < 4.5 * deviation


@pytest.mark.parametrize("policy", ["sketch_lupp", "sketch_qrcp"])
def test_a_sketch_finds_the_columns_that_span_a_low_rank_matrix(policy):
    """All of the energy of a rank-5 matrix lies in the span of five chosen columns."""
    matrix = RNG.normal(size=(40, 5)) @ RNG.normal(size=(5, 30))

    Q = np.linalg.qr(matrix[:, select(matrix, 5, axis=1, policy=policy)])[0]

    np.testing.assert_allclose(Q @ (Q.T @ matrix), matrix, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_before_squaring(dtype):
    """Squares of 1e-5 underflow in float16 and must not make all columns equal."""
    matrix = torch.tensor([[1e-5, 4e-5, 2e-5]], dtype=dtype)

    assert select(matrix, 1, axis=1, policy="min_norm").tolist() == [0]
    assert select(matrix, 1, axis=1, policy="qrcp").tolist() == [1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"policy": "min_norn"}, "did you mean 'min_norm'"),
        ({"axis": 2}, "axis must be 0"),
        ({"k": 21}, "between 1 and 20"),
        ({"k": 0}, "between 1 and 20"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"matrix": np.full((2, 2), np.nan)}, "must be finite; 4 of its 4"),
        ({"matrix": np.zeros((0, 3))}, "must not be empty"),
        ({"matrix": np.zeros(3)}, "two dimensions"),
        ({"matrix": "W"}, "matrix of real numbers"),
    ],
)
def test_unusable_input_is_refused_with_what_is_allowed(arguments, message):
    """Every message says what was given and what is allowed."""
    given_arguments = {"matrix": WEIGHT, "k": 2, "axis": 1} | arguments
    matrix, k = given_arguments.pop("matrix"), given_arguments.pop("k")

    with pytest.raises(InputError, match=message):
        select(matrix, k, **given_arguments)
