"""A run that is really killed, at moments nobody chose, and continued."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tests.runs.test_run import content
from tests.sequences import TOPICS, rows

SCENARIO = """
name: killed
setting: task-incremental
defaults: {backbone: tiny-lm, train: {batch_size: 8, epochs: 3, checkpoint_steps: 2}}
tasks:
"""
TASK = """
  - name: %s
    kind: text-classification
    train: {file: %s-train.jsonl}
    test: {file: %s-test.jsonl}
    labels: %s
"""


def events_in(folder) -> int:
    """Count what a run has reported so far."""
    path = folder / "events.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.slow
@pytest.mark.parametrize("method", ["curlora", "slora"])
def test_killed_and_continued_it_leaves_the_same_bytes(tmp_path, method):
    """Kill -9 six times on the way; adapters, scores and examples are as if never."""
    text = SCENARIO
    for topic in ("weather", "food"):
        for split, count, offset in (("train", 32, 0), ("test", 16, 1000)):
            lines = [json.dumps(row) for row in rows(topic, count, offset)]
            (tmp_path / f"{topic}-{split}.jsonl").write_text("\n".join(lines))
        text += TASK % (topic, topic, topic, sorted(TOPICS[topic]))
    (tmp_path / "s.yaml").write_text(text)
    command = [
        sys.executable,
        "-m",
        "continual.cli",
        "run",
        "s.yaml",
        "--method",
        method,
        "--quiet",
    ]

    subprocess.run([*command, "--out", "whole"], cwd=tmp_path, check=True, capture_output=True)
    events = events_in(tmp_path / "whole")
    draw = random.Random(method)
    killed = 0
    for nth in range(1, 7):
        process = subprocess.Popen(
            [*command, "--out", "torn"],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and events_in(tmp_path / "torn") < events * nth / 7:
            time.sleep(0.002)
        time.sleep(draw.uniform(0.0, 0.05))
        process.kill()
        killed += process.wait() == -signal.SIGKILL
    subprocess.run([*command, "--out", "torn"], cwd=tmp_path, check=True, capture_output=True)

    assert killed >= 3
    assert content(tmp_path / "torn") == content(tmp_path / "whole")
