"""What train.compile brings to a step, and what it costs before the first ones.

    python analysis/peers/compiled.py [--out compiled.json] [--turns 3]

The steps of bench.py, plain and compiled in turns, every run in a process of its own that begins
with no compiled code: seconds from the start of the run to the tenth step, and milliseconds per
step after it; medians. Needs a C++ compiler.
"""

import argparse
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import ours
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from work import ENCODER, LLAMAS, make_work, texts

STEPS = {"llama-2x64": 150, "llama-2x128": 100, ENCODER: 30}
FIRST = 10


def one(name: str, compiled: bool) -> dict[str, float]:
    """Make one run; return its seconds to the tenth step and milliseconds per step after it."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(root / "compiled")
        work, steps = make_work(name, root), STEPS[name]
        corpus = texts(work, steps * work.batch, seed=0)
        began = perf_counter()
        stamps = ours.train(work, corpus, steps, root, compiled=compiled)
    assert len(stamps) == steps, f"{len(stamps)} of {steps} steps"
    later = 1000 * (stamps[-1] - stamps[FIRST - 1]) / (steps - FIRST)
    return {"first": round(stamps[FIRST - 1] - began, 2), "later": round(later, 2)}


def measured(turns: int) -> dict[str, Any]:
    """Return what every run took."""
    plans = [(n, c) for n in (*LLAMAS, ENCODER) for _ in range(turns) for c in (False, True)]
    found: dict[str, Any] = {}
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for name, compiled in track(plans, "runs", console=Console(stderr=True)):
            own = found.setdefault(name, {"plain": [], "compiled": []})
            own["compiled" if compiled else "plain"].append(
                pool.submit(one, name, compiled).result()
            )
    return found


def table(found: dict[str, Any]) -> Table:
    """Return medians and what compiling makes of them."""
    shown = Table("model", "", "to the tenth step, s", "a step after it, ms", "over plain")
    for name, own in found.items():
        base = median(turn["later"] for turn in own["plain"])
        for way, turns in own.items():
            later = median(turn["later"] for turn in turns)
            first = median(turn["first"] for turn in turns)
            shown.add_row(name, way, f"{first:.1f}", f"{later:.2f}", f"{later / base:.2f}")
    return shown


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What train.compile brings and costs.")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    parser.add_argument("--turns", type=int, default=3, help="runs of each kind")
    given = parser.parse_args()
    found = measured(given.turns)
    Console().print(table(found))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
