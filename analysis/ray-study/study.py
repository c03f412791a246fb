"""Does a study on a Ray cluster lose, repeat or change a run when a worker is killed?

    python analysis/ray-study/study.py [FOLDER]

Twenty-four runs (4 methods × 3 seeds × 2 orders of the tasks) are made twice, in processes of this
machine and on a Ray cluster of its own. In the middle of the second study the process of a run that
has learned its first task is ended by SIGKILL. Counted are the beginnings of every run; compared
are the bytes of its configuration, scores, examples, adapters and checkpoints.
"""

import datetime
import hashlib
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from continual.records.events import read_events
from continual.runs.progress import LineReporter, Reporter
from continual.scenario import Scenario
from continual.studies import Grid, run_study

TOPICS = {
    "weather": {"warm": "the sun is hot and the day is bright", "cold": "snow and ice at night"},
    "food": {"sweet": "honey and sugar in the cake", "sour": "lemon and vinegar on the plate"},
    "music": {"loud": "drums and horns fill the hall", "soft": "a quiet flute plays alone"},
}
METHODS = ("lora:train.lr=0.01", "curlora", "nlora:train.lr=0.01", "slora:train.lr=0.01")
GRID = Grid(methods=METHODS, seeds=(0, 1, 2), orders=(None, "back"))
SETTINGS = {
    "train": {"batch_size": 8, "epochs": 2, "checkpoint_steps": 2, "log_steps": 1},
    "evaluation": {"batch_size": 8},
}
KEPT = ("run.yaml", "scores.parquet", "examples.parquet", "adapters", "checkpoints", "COMPLETE")
COUNTS = "state.json"  # of a checkpoint: it has the size of events.jsonl, which has times
ENDED_AT = 8  # runs that have finished when a process is killed
RESULTS = Path(__file__).parent / "results.json"


def scenario() -> Scenario:
    """Return three tasks of two classes, a few sentences each."""
    tasks = []
    for name, kinds in TOPICS.items():
        parts = [
            [
                {"text": f"case {offset + k}: {kinds[label]}", "label": label}
                for k, label in enumerate(sorted(kinds) * (count // 2))
            ]
            for offset, count in ((0, 16), (1000, 8))
        ]
        tasks.append((name, *parts))
    found = Scenario.from_lists("topics", tasks, defaults={"backbone": "tiny-lm"})
    return Scenario(
        name=found.name,
        tasks=found.tasks,
        setting=found.setting,
        defaults=found.defaults,
        orders={"back": ("music", "food", "weather")},
    )


class Killer(threading.Thread):
    """Ends the process of one run by SIGKILL, in the middle of the run and of the study."""

    def __init__(self, out: Path) -> None:
        super().__init__(daemon=True)
        self.out, self.killed = out, dict[str, Any]()

    def run(self) -> None:
        """Wait for the moment."""
        while not self.killed:
            time.sleep(0.02)
            events = read_events(self.out / "cells.jsonl")
            ended = [e["cell"] for e in events if e["event"] == "finished"]
            if len(ended) < ENDED_AT:
                continue
            for event in reversed(events):
                if event["event"] == "begun" and event["cell"] not in ended:
                    self._try(event)
                    break

    def _try(self, begun: dict[str, Any]) -> None:
        folder = self.out / begun["cell"]
        if (folder / "adapters" / "after-00").exists() and not (folder / "COMPLETE").exists():
            os.kill(begun["pid"], signal.SIGKILL)
            self.killed = {"cell": begun["cell"], "pid": begun["pid"], "at": time.time()}


def digests(folder: Path) -> dict[str, str]:
    """Return a checksum of every file of a run that does not say when or where it was made."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(folder) for path in paths}
    return {
        str(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for path, name in names.items()
        if name.parts[0] in KEPT and name.name != COUNTS
    }


def most_at_once(out: Path, events: list[dict[str, Any]], killed: dict[str, Any]) -> int:
    """Return how many runs were at work at the same time.

    A run is at work from when its beginning was heard of until it was complete or killed: the study
    hears of an end later than the cluster, which has given the place to another by then.
    """
    changes = []
    for event in events:
        if event["event"] == "begun":
            heard = f"{event['time']}+00:00"
            ended = (out / event["cell"] / "COMPLETE").stat().st_mtime
            shot = (event["cell"], event["pid"]) == (killed["cell"], killed["pid"])
            ended = killed["at"] if shot else ended
            changes += [(datetime.datetime.fromisoformat(heard).timestamp(), 1), (ended, -1)]
    return max(itertools.accumulate(change for _, change in sorted(changes)))


def compare(folder: Path, reporter: Reporter) -> dict[str, Any]:
    """Make both studies below ``folder``; return what happened."""
    sequence = scenario()
    here = run_study(
        sequence, GRID, out=folder / "local", settings=SETTINGS, jobs=2, reporter=reporter
    )
    killer = Killer(folder / "ray")
    killer.start()
    there = run_study(
        sequence,
        GRID,
        out=folder / "ray",
        settings=SETTINGS,
        executor="ray",
        reporter=reporter,
    )
    events = read_events(folder / "ray" / "cells.jsonl")
    counted = {kind: Counter(e["cell"] for e in events if e["event"] == kind) for kind in EVENTS}
    pairs = list(zip(here, there, strict=True))
    equal = [one.path.name for one, other in pairs if digests(one.path) == digests(other.path)]
    return {
        "cells": len(there),
        "complete": sum(record.complete for record in there),
        "killed": {key: killer.killed[key] for key in ("cell", "pid")},
        "lost": dict(counted["lost"]),
        "begun once": sum(count == 1 for count in counted["begun"].values()),
        "begun more than once": {c: n for c, n in counted["begun"].items() if n > 1},
        "most at once": most_at_once(folder / "ray", events, killer.killed),
        "finished once": sum(count == 1 for count in counted["finished"].values()),
        "files compared": sum(len(digests(record.path)) for record in there),
        "byte-identical": len(equal),
        "different": sorted({one.path.name for one in here} - set(equal)),
    }


EVENTS = ("begun", "lost", "finished")


def main() -> None:
    """Make the comparison and keep what came out."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        found = compare(folder, LineReporter())
    text = json.dumps(found, indent=1)
    RESULTS.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
