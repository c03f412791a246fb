"""The same training through plain PyTorch, continual, transformers' Trainer and Avalanche.

    python analysis/peers/bench.py [--out results.json] [--turns 3]

All systems take turns in one process on one thread, each round begins with another one, the first
round is thrown away, and a figure is the median of the others. What they do: work.py. Rows:

    step          one optimiser step, from the clock between steps, the first ten left out
    sequence      15 tasks, 20 steps each, and after each the loss on all tasks so far: everything
                  from the texts to the last result; continual also evaluates all tasks before it
                  learns, measures what happened to the weights, and writes its run directory
    40 steps      texts of 4 to 400 words, in batches as drawn and grouped by length
    evaluation    the loss of 1024 texts of 32 words; classes of texts of 4 to 400 words, batches by
                  length against batches as they come
    scoring       classes by the probability of their names against writing out an answer
    data path     making a batch of eight ready, per example
    memory        largest resident memory of a process of its own with 30 steps
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from work import ENCODER, LLAMAS, Work, cold, make_work, texts

from continual.trackers import cost

SYSTEMS = {
    "plain PyTorch": "bare",
    "continual": "ours",
    "Trainer + PEFT": "trainer",
    "Avalanche Naive + PEFT": "naive",
}
STEPS = {"llama-2x64": 150, "llama-2x128": 100, ENCODER: 20}
SKIPPED = 10
EVALUATED = 1024
TASKS, TASK_STEPS, TASK_TEXTS, TEST_TEXTS = 15, 20, 160, 32
SEQUENCE, MIXED = "llama-2x64", "llama-2x128"

Row = dict[str, Any]
Turn = Callable[[], float]
Turns = dict[str, list[float]]  # by system


def steps_row(work: Work, root: Path) -> dict[str, Turn]:
    """Return what measures milliseconds per step of every system."""
    steps = STEPS[work.name]
    corpus = texts(work, steps * work.batch, seed=0)

    def turn(system: str) -> float:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            stamps = import_module(SYSTEMS[system]).train(work, corpus, steps, Path(folder))
        assert len(stamps) == steps, f"{system} made {len(stamps)} of {steps} steps"
        return 1000 * (stamps[-1] - stamps[SKIPPED - 1]) / (steps - SKIPPED)

    return {system: lambda system=system: turn(system) for system in SYSTEMS}


def sequence_row(work: Work, root: Path) -> dict[str, Turn]:
    """Return what measures the seconds of a whole sequence."""
    tasks = [
        (texts(work, TASK_TEXTS, seed=k), texts(work, TEST_TEXTS, seed=100 + k))
        for k in range(TASKS)
    ]

    def turn(system: str) -> float:
        with tempfile.TemporaryDirectory(dir=root) as folder:
            cold()
            began = perf_counter()
            import_module(SYSTEMS[system]).sequence(work, tasks, TASK_STEPS, Path(folder))
            return perf_counter() - began

    return {system: lambda system=system: turn(system) for system in SYSTEMS}


def evaluation_systems_row(work: Work, root: Path) -> dict[str, Turn]:
    """Return what measures the seconds of evaluating texts of one length, tokenized before."""
    corpus = texts(work, EVALUATED, seed=5)

    def timed(system: str) -> Turn:
        call = import_module(SYSTEMS[system]).evaluation(work, corpus, root / "evaluation")

        def turn() -> float:
            began = perf_counter()
            call()
            return perf_counter() - began

        return turn

    return {system: timed(system) for system in SYSTEMS}


def memory_row(work: Work, root: Path) -> dict[str, Turn]:
    """Return what measures the megabytes of a process of its own."""

    def turn(system: str) -> float:
        command = [sys.executable, __file__, "--memory-of", system, "--root", str(root)]
        done = subprocess.run(
            [*command, "--work", work.name], check=True, capture_output=True, text=True
        )
        return float(done.stdout.split()[-1])

    return {system: lambda system=system: turn(system) for system in SYSTEMS}


def print_memory(system: str, name: str, root: Path) -> None:
    """Train 30 steps and print this process's largest resident memory in megabytes."""
    cost.RESET = Path("/nowhere")  # a run of ours would begin its peak anew, after its imports
    work = make_work(name, root)
    corpus = texts(work, 30 * work.batch, seed=0)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        import_module(SYSTEMS[system]).train(work, corpus, 30, Path(folder))
    # VmHWM is this program's alone; ru_maxrss begins with what its parent was when it forked.
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(line for line in lines if line.startswith("VmHWM"))
    print(int(peak.split()[1]) / 1024)


def measure(turns: dict[str, Turn], count: int, tick: Callable[[], None]) -> Turns:
    """Return what every system took in each of ``count`` rounds after a first one."""
    found: Turns = {name: [] for name in turns}
    names = list(turns)
    for k in range(count + 1):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            value = turns[name]()
            tick()
            if k:
                found[name].append(round(value, 4))
    return found


def rows(root: Path, count: int) -> list[Row]:
    """Measure everything."""
    from parts import data_path_row, evaluation_row, grouping_row, scoring_row

    works = {name: make_work(name, root) for name in (*LLAMAS, ENCODER)}
    plans: list[tuple[str, str, dict[str, Turn], int]] = [
        *((f"step, {n}", "ms", steps_row(work, root), count) for n, work in works.items()),
        ("sequence of 15 tasks", "s", sequence_row(works[SEQUENCE], root), count),
        ("40 steps, texts of 4 to 400 words", "s", grouping_row(works[MIXED], root), count),
        ("evaluation, texts of 32 words", "s", evaluation_systems_row(works[MIXED], root), count),
        ("evaluation, texts of 4 to 400 words", "s", evaluation_row(works[MIXED]), count),
        ("scoring of 4 classes, 64 texts", "s", scoring_row(works[MIXED]), count),
        ("data path, batch of 8", "µs per example", data_path_row(works[MIXED]), count),
        *((f"memory, {n}", "MB", memory_row(works[n], root), 1) for n in (MIXED, ENCODER)),
    ]
    found = []
    with Progress(console=Console(stderr=True)) as bar:
        for name, unit, turns, times in plans:
            task = bar.add_task(name, total=len(turns) * (times + 1))
            values = measure(turns, times, lambda task=task: bar.advance(task))
            found.append({"row": name, "unit": unit, "turns": values})
    return found


def table(found: list[Row]) -> Table:
    """Return the rows with ratios to the first system of each."""
    shown = Table("row", "unit", "system", "median", "over the first")
    for row in found:
        values = [(system, median(turns)) for system, turns in row["turns"].items()]
        first = values[0][1]
        for k, (system, value) in enumerate(values):
            shown.add_row(
                row["row"] if k == 0 else "",
                row["unit"] if k == 0 else "",
                system,
                f"{value:.3g}",
                f"{value / first:.2f}",
            )
    return shown


def environment() -> dict[str, str]:
    """Return what was measured, and on what."""
    names = ("continual-adapters", "torch", "transformers", "peft", "avalanche-lib")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line for line in lines if line.startswith("model name")), ": unknown")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "processor": processor.partition(": ")[2],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The same training through four systems.")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    parser.add_argument("--turns", type=int, default=3, help="measured turns of every row")
    parser.add_argument("--memory-of", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory_of:
        print_memory(given.memory_of, given.work, given.root)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = rows(Path(folder), given.turns)
    Console().print(table(found))
    if given.out:
        known = {"environment": environment(), "rows": found}
        given.out.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
