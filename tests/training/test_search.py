"""The search among choices: what it finds, what it may use, and that it can be made again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from continual.adapters.choices import Choices, Search
from continual.adapters.glora import GLoRA, GLoRAConfig
from continual.errors import InputError
from continual.scenario import Scenario
from continual.training.lesson import prepare
from continual.training.loop import begin, learn
from continual.training.search import evolve, numbers
from continual.training.validation import Validation
from tests.adapters.models import site
from tests.sequences import rows, small_scenario
from tests.training.learners import learner

SIZES, PLANTED = (4, 4, 3), ((1, 2, 0), (3, 0, 2), (0, 1, 1))
NET = {"supernet": True, "rank": 2, "population": 3, "generations": 1}
FEW = small_scenario(2, train=10, test=4)


def toy() -> list[Choices]:
    """Three weights where the k-th alternative of a choice uses 10 (size − 1 − k) numbers."""

    def used(pick):
        return sum(10 * (size - 1 - k) for k, size in zip(pick, SIZES, strict=True))

    return [
        Choices(sizes=SIZES, now=(0, 0, 0), numbers=used, take=lambda pick: None) for _ in range(3)
    ]


def distance(candidate) -> float:
    """How many choices differ from the planted ones."""
    return float((np.array(candidate) != np.array(PLANTED)).sum())


def found(cost, how, seed=0, weights=None, tick=lambda done, total: None):
    """What a search finds."""
    return evolve(weights or toy(), cost, how, np.random.default_rng(seed), tick)


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_planted_best(seed):
    """One of 110,592 combinations, after judging at most 600; random ones come nowhere near."""
    how = Search(population=40, generations=14)
    best, cost, judged = found(distance, how, seed)
    rng = np.random.default_rng(seed)
    by_chance = min(
        distance([[rng.integers(size) for size in SIZES] for _ in range(3)]) for _ in range(600)
    )

    assert best == PLANTED
    assert cost == 0.0
    assert judged <= 600
    assert by_chance >= 2


def test_it_finds_the_kinds_that_a_target_was_made_with():
    """A supernet of one layer, one of whose 432 configurations answers exactly."""
    where = site(6, 5)
    adapter = GLoRA(where, GLoRAConfig(rank=2, supernet=True)).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    x = torch.randn(20, 5, generator=generator)
    y = x @ where.weight.T + where.bias
    choices, planted = adapter.choices(), (1, 0, 2, 0, 1)

    def answer(pick):
        choices.take(pick)
        with torch.no_grad():
            return adapter(x, y)

    target = answer(planted)
    best, cost, judged = found(
        lambda candidate: float((answer(candidate[0]) - target).square().mean()),
        Search(population=24, generations=8),
        weights=[choices],
    )

    assert best == (planted,)
    assert cost == 0.0
    assert judged <= 432 / 2


def test_no_candidate_uses_more_than_the_limit():
    """Not only the winner, which is the best that fits: the planted one does not."""
    weights, seen = toy(), []

    def cost(candidate):
        seen.append(numbers(weights, candidate))
        return distance(candidate)

    assert numbers(weights, PLANTED) == 140
    for limit in (10, 130):
        seen.clear()
        best, worth, _ = found(cost, Search(population=20, generations=9, limit=limit))
        assert max(seen) <= limit
        assert numbers(weights, best) <= limit
        assert worth > 0.0
    assert worth == 1.0


def test_a_limit_that_nothing_keeps_is_refused():
    """With the fewest numbers that are possible."""
    heavy = replace(toy()[0], numbers=lambda pick: 100 + sum(pick))

    with pytest.raises(InputError, match="99 numbers at most, and no choice uses fewer than 100"):
        found(lambda candidate: 0.0, Search(limit=99), weights=[heavy])


def test_among_equals_the_smallest_wins_and_no_answer_loses():
    """Nothing that cannot be compared is taken."""
    best, _, _ = found(lambda candidate: 1.0, Search(population=40, generations=10))
    flat = [k for pick in best for k in pick]
    sane, cost, _ = found(
        lambda candidate: float("nan") if candidate[0][0] else 2.0, Search(population=4)
    )

    assert sum(flat) >= 18  # of 24, where the fewest numbers are
    assert sane[0][0] == 0
    assert cost == 2.0


def test_what_is_in_use_is_judged_first():
    """So that a search never leaves the validation split worse off."""
    seen = []
    found(lambda candidate: seen.append(candidate) or 0.0, Search(population=2, generations=1))

    assert seen[0] == ((0, 0, 0),) * 3


def test_it_depends_on_its_generator_alone_and_says_how_far_it_is():
    """Nothing global is drawn from; equal seeds judge the same candidates in the same order."""
    runs, ticks = [], []
    for seed in (0, 0, 1):
        torch.manual_seed(len(runs))
        np.random.seed(len(runs))
        before, seen = torch.get_rng_state(), []
        found(
            lambda candidate, seen=seen: seen.append(candidate) or distance(candidate),
            Search(population=5, generations=3),
            seed,
            tick=lambda done, total: ticks.append((done, total)),
        )
        assert torch.equal(torch.get_rng_state(), before)
        runs.append(seen)

    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) == len(runs[0])
    assert ticks[:20] == [(k, 20) for k in range(1, 21)]


def test_the_loop_searches_after_every_task_by_its_own_validation_split():
    """The winner answers from then on, as well as was logged, and no worse than before."""
    events, ticks, asked = [], [], []
    parts = learner("glora", scenario=FEW, options=NET)
    encode = parts.backbone.encode
    parts.backbone.encode = lambda task, split: asked.append(split) or encode(task, split)
    parts = replace(
        parts, log=events.append, searching=lambda i, done, total: ticks.append((i, done, total))
    )
    adapters = parts.adaptation.adapters.values()
    for i in learn(parts):
        task = parts.scenario[i].task.load()
        assert [id(split) for split in asked] == [id(task.train), id(task.validation)]
        (event,) = [e for e in events if "search_nats" in e and e["experience"] == i]
        validation = judge(parts, i)
        winner = [adapter.choices().now for adapter in adapters]
        assert validation.nats() == event["search_nats"]
        assert (
            sum(a.choices().numbers(p) for a, p in zip(adapters, winner, strict=True))
            == (event["search_numbers"])
        )
        if i == 0:
            for adapter in adapters:
                adapter.choices().take((0,) * len(adapter.choices().sizes))
            assert event["search_nats"] <= validation.nats()
            for adapter, pick in zip(adapters, winner, strict=True):
                adapter.choices().take(pick)
        asked.clear()

    assert ticks == [(i, done, 6) for i in range(2) for done in range(1, 7)]


def judge(parts, i) -> Validation:
    """What the loop judges experience i by."""
    course = prepare(
        parts.scenario, parts.backbone, parts.config, parts.memory, parts.scenario[i], parts.seed
    )
    return Validation.of(parts.backbone, course, parts.micro_batch)


def test_a_limit_holds_in_the_loop():
    """Over all layers together."""
    parts = learner("glora", options={**NET, "limit": 500}, max_steps=1)
    events = []
    list(learn(replace(parts, log=events.append)))

    (event,) = [event for event in events if "search_nats" in event]
    assert 0 < event["search_numbers"] <= 500


def test_without_a_validation_split_nothing_begins():
    """A search could only look at what was learned, or at the test."""
    topic = ("weather", rows("weather", 8, 0), rows("weather", 4, 1000))
    bare = Scenario.from_lists("bare", [topic], validation_fraction=0.0)
    parts = learner("glora", scenario=bare, options=NET)
    begin(parts, bare[0])

    with pytest.raises(InputError, match="task 'weather' has no validation split"):
        list(learn(learner("glora", scenario=bare, options=NET)))


def test_a_search_that_was_killed_is_made_again_with_the_same_result():
    """In the middle of its candidates, in the second task; kinds and numbers bit for bit."""
    saved = []

    def fresh():
        return learner("glora", scenario=FEW, options=NET, checkpoint_steps=1)

    def die(experience, done, total):
        if (experience, done) == (1, 4):
            raise KeyboardInterrupt

    whole, torn, again = fresh(), fresh(), fresh()
    list(learn(whole))
    with pytest.raises(KeyboardInterrupt):
        list(learn(replace(torn, save=saved.append, searching=die)))
    list(learn(again, saved[-1]))

    assert (saved[-1].position.experience, saved[-1].position.phase) == (1, "training")
    expected = whole.adaptation.state()
    assert all(torch.equal(expected[k], t) for k, t in again.adaptation.state().items())
    assert any(any(a.choices().now) for a in again.adaptation.adapters.values())
