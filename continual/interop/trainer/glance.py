"""Whether a model that should have learned answers as it did before any training."""

from collections.abc import Mapping

from continual.backbone import Backbone
from continual.scenario import Scenario

Nats = Mapping[tuple[str, str], float]  # of test examples, by task and id

COMPARED = 8  # examples of a task
CLOSER = 10  # so many times closer to the model before training: it is that one


def few_nats(backbone: Backbone, scenario: Scenario, after: int) -> Nats:
    """Return the nats of a few test examples of every task that can be scored."""
    found: dict[tuple[str, str], float] = {}
    for j, task in enumerate(scenario.tasks):
        candidates = scenario.candidates(min(after, len(scenario) - 1), j)
        if candidates is None:
            continue
        split = task.load().test
        encoded = backbone.encode(task, split.select(range(min(COMPARED, len(split)))))
        scored = backbone.score(task, encoded, candidates, COMPARED)
        found |= {(task.name, one.id): one.nats for one in scored}
    return found


def looks_untrained(now: Nats, before: Nats, after: Nats) -> bool:
    """Say whether answers are those from before any training and not those after it.

    >>> looks_untrained({("a", "1"): 2.0}, {("a", "1"): 2.0}, {("a", "1"): 0.5})
    True
    >>> looks_untrained({("a", "1"): 2.0}, {("a", "1"): 2.0}, {("a", "1"): 2.0})
    False
    """
    both = [key for key in now if key in before and key in after]
    if not both:
        return False
    away = max(abs(now[key] - before[key]) for key in both)
    return CLOSER * away < max(abs(now[key] - after[key]) for key in both)
