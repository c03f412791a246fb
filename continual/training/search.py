"""Evolution: which alternatives at every weight answer a task's validation split best.

    generation 0     the picks in use, and random ones
    generation g     half mutations of the best fifth so far, half crossovers of two of them;
                     what was judged before is replaced by a random candidate
    winner           least nats, then fewest numbers, then first in order

A candidate has one pick per weight. A mutation draws every choice anew with some probability, a
crossover takes every choice from either parent. Candidates over the limit are cut down: choices in
random order take the alternative of fewest numbers until the whole fits.

The draws depend on (seed, experience) alone and nothing is kept on the way, so a search that was
killed is made again with the same result. Nothing learns while it lasts.

Reference: Chavan et al. (2023), arXiv:2306.07967, whose published code has populations of 50, 20
generations and ten parents, and draws again instead of cutting down.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from continual.adapters.choices import Choices, Pick, Search
from continual.errors import InputError
from continual.training.step import Learner
from continual.training.validation import Validation

EVOLUTION = 5  # purpose of a random stream
TRIES = 10  # random draws in place of a candidate that was judged before
Candidate = tuple[Pick, ...]


def search(learner: Learner, experience: int, step: int, validation: Validation) -> None:
    """Let every weight that has choices take what answers best; nothing happens without any."""
    how = learner.adaptation.search
    if how is None:
        return
    found = [adapter.choices() for adapter in learner.adaptation.adapters.values()]
    weights = [choices for choices in found if choices is not None]

    def nats(candidate: Candidate) -> float:
        take(weights, candidate)
        return validation.nats()

    rng = np.random.default_rng([learner.seed, experience, 0, EVOLUTION])
    best, cost, judged = evolve(
        weights, nats, how, rng, lambda done, total: learner.searching(experience, done, total)
    )
    take(weights, best)
    event = {"search_nats": cost, "search_numbers": numbers(weights, best), "searched": judged}
    learner.log({"experience": experience, "step": step, **event})


def take(weights: Sequence[Choices], candidate: Candidate) -> None:
    """Use a candidate's pick at every weight."""
    for choices, pick in zip(weights, candidate, strict=True):
        choices.take(pick)


def numbers(weights: Sequence[Choices], candidate: Candidate) -> int:
    """Return how many numbers a candidate uses."""
    return sum(w.numbers(pick) for w, pick in zip(weights, candidate, strict=True))


def evolve(
    weights: Sequence[Choices],
    nats: Callable[[Candidate], float],
    how: Search,
    rng: np.random.Generator,
    tick: Callable[[int, int], None],
) -> tuple[Candidate, float, int]:
    """Return the best candidate found, its cost, and how many were judged.

    Args:
        weights: the choices at every weight.
        nats: the cost of a candidate; one that is not finite loses.
        how: size of the search and limit of numbers.
        rng: of every draw.
        tick: called after every candidate with (done, in all).

    Raises:
        InputError: not even the alternatives of fewest numbers keep to the limit.
    """
    judged: dict[Candidate, tuple[float, int, Candidate]] = {}
    total = how.population * (how.generations + 1)
    parents: list[Candidate] = []
    for k in range(total):
        generation, place = divmod(k, how.population)
        if generation > 0 and place == 0:
            parents = sorted(judged, key=judged.__getitem__)[: max(1, how.population // 5)]
        fresh = _within(weights, _proposal(weights, parents, how, place, rng), how.limit, rng)
        for _ in range(TRIES if fresh in judged else 0):
            fresh = _within(weights, _random(weights, rng), how.limit, rng)
            if fresh not in judged:
                break
        if fresh not in judged:
            cost = nats(fresh)
            learns = numbers(weights, fresh) > 0  # else it is the frozen backbone
            worth = cost if math.isfinite(cost) and learns else math.inf
            judged[fresh] = (worth, numbers(weights, fresh), fresh)
        tick(k + 1, total)
    best = min(judged, key=judged.__getitem__)
    return best, judged[best][0], len(judged)


def _proposal(
    weights: Sequence[Choices],
    parents: Sequence[Candidate],
    how: Search,
    place: int,
    rng: np.random.Generator,
) -> Candidate:
    """Return the candidate at a place of a generation; the first one has no parents."""
    if not parents:
        return _random(weights, rng) if place else tuple(choices.now for choices in weights)
    first, second = (parents[one] for one in rng.integers(len(parents), size=2))
    if place < how.population // 2:
        return _mutated(weights, first, how.mutation, rng)
    return _crossed(first, second, rng)


def _random(weights: Sequence[Choices], rng: np.random.Generator) -> Candidate:
    return tuple(tuple(int(rng.integers(size)) for size in w.sizes) for w in weights)


def _mutated(
    weights: Sequence[Choices], parent: Candidate, chance: float, rng: np.random.Generator
) -> Candidate:
    return tuple(
        tuple(
            int(rng.integers(size)) if rng.random() < chance else kept
            for kept, size in zip(pick, w.sizes, strict=True)
        )
        for pick, w in zip(parent, weights, strict=True)
    )


def _crossed(first: Candidate, second: Candidate, rng: np.random.Generator) -> Candidate:
    return tuple(
        tuple(p if rng.random() < 0.5 else q for p, q in zip(one, other, strict=True))
        for one, other in zip(first, second, strict=True)
    )


def _within(
    weights: Sequence[Choices], candidate: Candidate, limit: int | None, rng: np.random.Generator
) -> Candidate:
    """Cut a candidate down to the limit."""
    used = numbers(weights, candidate)
    if limit is None or used <= limit:
        return candidate
    picks = [list(pick) for pick in candidate]
    places = [(k, c) for k, w in enumerate(weights) for c in range(len(w.sizes))]
    for k, c in rng.permutation(places):
        options = [(*picks[k][:c], one, *picks[k][c + 1 :]) for one in range(weights[k].sizes[c])]
        before = weights[k].numbers(tuple(picks[k]))
        picks[k] = list(min(options, key=weights[k].numbers))
        used += weights[k].numbers(tuple(picks[k])) - before
        if used <= limit:
            return tuple(map(tuple, picks))
    raise InputError(
        f"the search may use {limit} numbers at most, and no choice uses fewer than {used}. Raise "
        "its limit."
    )
