"""Small sequences that a few steps can learn, for the tests of whole runs."""

import json
from pathlib import Path

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


def squares(count: int) -> list[dict[str, object]]:
    """Return grey 8×8 images with a bright square in the corner that is their label, 0 to 3."""
    rows = []
    for k in range(count):
        top, left = 4 * (k % 4 // 2), 4 * (k % 2)
        image = [[k] * 8 for _ in range(8)]
        for i in range(top, top + 4):
            image[i][left : left + 4] = [200] * 4
        rows.append({"image": image, "label": k % 4})
    return rows


def write_scenario(folder: Path) -> Path:
    """Write two small tasks and the scenario file that reads them; return its path."""
    text = "name: written\nsetting: task-incremental\ndefaults: {backbone: tiny-lm, train: "
    text += "{batch_size: 8, epochs: 3, checkpoint_steps: 2}}\ntasks:\n"
    for topic in ("weather", "food"):
        for split, count, offset in (("train", 32, 0), ("test", 16, 1000)):
            lines = [json.dumps(row) for row in rows(topic, count, offset)]
            (folder / f"{topic}-{split}.jsonl").write_text("\n".join(lines))
        text += f"  - name: {topic}\n    kind: text-classification\n"
        text += (
            f"    train: {{file: {topic}-train.jsonl}}\n    test: {{file: {topic}-test.jsonl}}\n"
        )
        text += f"    labels: {sorted(TOPICS[topic])}\n"
    (folder / "written.yaml").write_text(text)
    return folder / "written.yaml"
