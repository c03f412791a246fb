"""Small sequences that a few steps can learn, for the tests of whole runs."""

from continual.scenario import Scenario

TOPICS = {
    "weather": {
        "warm": "the sun is hot and the day is bright",
        "cold": "snow and ice fall at night",
    },
    "food": {"sweet": "honey and sugar in the cake", "sour": "lemon and vinegar on the plate"},
    "music": {"loud": "drums and horns fill the hall", "soft": "a quiet flute plays alone"},
}


def rows(topic: str, count: int, offset: int) -> list[dict[str, str]]:
    """Return ``count`` distinct labelled sentences of a topic."""
    found = []
    for k in range(count):
        label = sorted(TOPICS[topic])[k % 2]
        found.append({"text": f"case {offset + k}: {TOPICS[topic][label]}", "label": label})
    return found


def small_scenario(tasks: int = 3, train: int = 24, test: int = 8, **options) -> Scenario:
    """Return a task-incremental sequence of binary text classification."""
    names = list(TOPICS)[:tasks]
    return Scenario.from_lists(
        "small",
        [(name, rows(name, train, 0), rows(name, test, 1000)) for name in names],
        defaults={"backbone": "tiny-lm"},
        **options,
    )


QUICK = {
    "train": {"batch_size": 8, "checkpoint_steps": 2, "log_steps": 1},
    "evaluation": {"batch_size": 8, "probe_window": 32},
}
