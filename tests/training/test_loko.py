"""LoKO: the filter against the textbook's, and what it is refused for."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual import InputError, run
from continual.training.loko import BETA, FLOOR, INITIAL_VARIANCE, LoKO
from tests.sequences import small_scenario


def textbook(theta, examples, lr):
    """The filter with dense matrices, in float64: W (3, 4) of a linear softmax."""
    P, R, before = np.full(12, INITIAL_VARIANCE), np.eye(3), theta.copy()
    for x, truth in examples:
        logits = before.reshape(3, 4) @ x
        p = np.exp(logits) / np.exp(logits).sum()
        H = (np.diag(p) - np.outer(p, p)) @ np.kron(np.eye(3), x)
        error = np.eye(3)[truth] - p - lr * H @ (theta - before)
        spread = H @ np.diag(P) @ H.T
        gain = np.diag(P) @ H.T @ np.linalg.inv(spread + R + FLOOR * np.eye(3))
        theta = theta + gain @ error
        P = P - np.diag(gain @ H @ np.diag(P))
        R = BETA * R + (1 - BETA) * (np.outer(error, error) + spread)
    return before + lr * (theta - before), P, R


def drawn(seed, count=5):
    """A weight and examples for it."""
    random = np.random.default_rng(seed)
    return random.normal(size=12), [(random.normal(size=4), k % 3) for k in range(count)]


@pytest.mark.parametrize("lr", [1.0, 0.25])
def test_a_step_is_that_of_the_textbook(lr):
    """θ, P and R after one step of five examples, by dense matrices."""
    theta, examples = drawn(0)
    weight = nn.Parameter(torch.tensor(theta.reshape(3, 4), dtype=torch.float32))
    kalman = LoKO([weight], lr)
    for x, truth in examples:
        kalman.measure(weight @ torch.tensor(x).float(), torch.tensor(truth))
    kalman.step()
    wanted, P, R = textbook(theta, examples, lr)

    assert_close(weight.detach().flatten().double().numpy(), wanted, rtol=1e-4, atol=1e-5)
    assert_close(kalman.state[weight]["variance"].flatten().double().numpy(), P, rtol=1e-4, atol=0)
    assert_close(kalman.state[weight]["noise3"].double().numpy(), R, rtol=1e-4, atol=1e-5)


def test_the_noise_of_other_heads_is_another_one():
    """Two classes measured between three leave what is known of three."""
    weight = nn.Parameter(torch.randn(3, 4))
    kalman = LoKO([weight], 1.0)
    _, examples = drawn(2)
    for x, truth in examples:
        kalman.measure(weight @ torch.tensor(x).float(), torch.tensor(truth))
    before = kalman.state[weight]["noise3"].clone()
    kalman.measure(weight[:2] @ torch.ones(4), torch.tensor(0))

    assert torch.equal(kalman.state[weight]["noise3"], before)
    assert kalman.state[weight]["noise2"].shape == (2, 2)


def test_variances_only_fall_and_stay_positive():
    """What is measured often is held; what is never measured is not."""
    weight, other = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(2))
    kalman = LoKO([weight, other], 1.0)
    _, examples = drawn(1, count=200)
    last = torch.full((3, 4), INITIAL_VARIANCE)
    for x, truth in examples:
        kalman.measure(weight @ torch.tensor(x).float(), torch.tensor(truth))
        kalman.step()
        now = kalman.state[weight]["variance"].clone()
        assert (now <= last).all()
        assert (now >= 0).all()
        last = now

    assert (last < 0.999 * INITIAL_VARIANCE).all()
    assert "variance" not in kalman.state[other]


def test_it_learns_small_tasks(tmp_path):
    """From one pass over 24 examples, with a head over the last token."""
    settings = {"backbone": {"heads": True}}
    record = run(small_scenario(1), "loko", out=tmp_path / "run", settings=settings)

    assert record.matrix()[0, 0] == 1.0 > record.baseline()[0]


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("loko", {}, "give backbone.heads=true"),
        ("lora", {"train": {"optimiser": "loko"}}, "give train.clip=null"),
        ("nlora", {"train": {"optimiser": "loko", "clip": None}}, "choose lora, joint, replay"),
        ("loko", {"ewc": {"lam": 1.0}}, "ewc.lam"),
        ("loko", {"train": {"weight_decay": 0.1}}, "train.weight_decay"),
    ],
)
def test_it_is_refused_where_it_means_nothing(tmp_path, method, settings, said):
    """Before anything is written."""
    out = tmp_path / "run"
    with pytest.raises(InputError, match=said):
        run(small_scenario(1), method, out=out, backbone="tiny-lm", settings=settings)

    assert not out.exists()
