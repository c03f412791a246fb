"""Every method on the same tasks: learning, forgetting, drift and cost in one table.

    python analysis/all-methods/study.py rates  --out analysis/all-methods [--jobs 2]
    python analysis/all-methods/study.py runs   --out analysis/all-methods [--jobs 2]
    python analysis/all-methods/tables.py --out analysis/all-methods

`rates` chooses the learning rate of each method on the first task of each scenario, tested on that
task's validation split, seed 0: the lowest rate whose validation loss is within 0.1 nats of the
best. `runs` then learns the whole sequence with three seeds. Each finished cell is one line of
rates.jsonl or runs.jsonl, and an interrupted study does only what is missing there. Every method
gets the same steps, batches, layers and schedule; one that diverged has no numbers.
"""

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import track

from continual import Scenario, load_scenario, run
from continual.adapters import METHODS
from continual.metrics import scores
from continual.records import RunRecord
from continual.reports.costs import costs
from continual.scenario import RowsSource
from continual.training.step import NonFiniteLossError

SEEDS = (0, 1, 2)
MARGIN = 0.1  # nats
SETTINGS: dict[str, dict[str, Any]] = {
    "pydocs": {"evaluation": {"policy": "lower"}},
    "split-digits": {"evaluation": {"policy": "lower"}},
}
WIDE = (1e-3, 3e-3, 1e-2, 3e-2)
RATES: dict[str, tuple[float, ...]] = {  # where another range is known to be needed
    "curlora": (1e-2, 3e-2, 1e-1, 3e-1),
    "full": (1e-4, 3e-4, 1e-3, 3e-3),
}
# On a first task these are LoRA to the last bit, so LoRA's rate is theirs.
AS_LORA = ("joint", "per-task", "replay", "ewc", "lwf", "inclora", "olora")
PEFT = tuple(
    f"peft:{name}"
    for name in (
        *("dora", "olora", "pissa", "randlora", "vera", "peanut", "hira", "mica", "osf"),
        *("prefix_tuning", "ln_tuning", "ia3"),
    )
)
NOT_HERE = {  # head-only needs heads, and prefixes a language model without them
    "pydocs": ("head-only",),
    "split-digits": ("peft:prefix_tuning",),
}

Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """One run of the study; ``rate`` None is the method without anything that learns."""

    stage: str
    scenario: str
    method: str
    rate: float | None
    seed: int

    @property
    def key(self) -> tuple[str, str, float | None, int]:
        """What tells it from the others of its stage."""
        return self.scenario, self.method, self.rate, self.seed


def rows_of(scenario: str) -> list[str]:
    """Return the methods that a scenario's table has."""
    return [name for name in (*METHODS, *PEFT) if name not in NOT_HERE[scenario]]


def held_out(scenario: Scenario) -> Scenario:
    """Return the first task alone, tested on its validation split, without probes."""
    task = scenario.tasks[0]
    rows = []
    for example in task.load().validation:
        row: Row = {"label": task.labels[example.label or 0], "id": example.id}
        row |= {"image": example.image} if example.image is not None else {"text": example.text}
        rows.append(row)
    first = replace(task, test=RowsSource(rows=rows))
    return replace(scenario, tasks=(first,), probes=(), orders={})


def rate_cells() -> list[Cell]:
    """Return what the first stage needs."""
    return [
        Cell("rates", scenario, method, rate, 0)
        for scenario in SETTINGS
        for method in rows_of(scenario)
        if method not in (*AS_LORA, "frozen")
        for rate in RATES.get(method, WIDE)
    ]


def run_cells(rates: Sequence[Row]) -> list[Cell]:
    """Return what the second stage needs, seed by seed, with the chosen rates."""
    return [
        Cell("runs", scenario, method, chosen(rates, scenario, method), seed)
        for seed in SEEDS
        for scenario in SETTINGS
        for method in rows_of(scenario)
    ]


def chosen(rates: Sequence[Row], scenario: str, method: str) -> float | None:
    """Return the lowest rate whose loss is within the margin of the method's best."""
    if method == "frozen":
        return None
    name = "lora" if method in AS_LORA else method
    own = [row for row in rates if (row["scenario"], row["method"]) == (scenario, name)]
    own = [row for row in own if row["nats"] is not None]
    best = min(row["nats"] for row in own)
    return min(row["lr"] for row in own if row["nats"] <= best + MARGIN)


def outcome(cell: Cell) -> Row:
    """Make one run in a folder that goes away, and return its line."""
    whole = load_scenario(cell.scenario)
    scenario = held_out(whole) if cell.stage == "rates" else whole
    settings: dict[str, Any] = {} if cell.stage == "rates" else dict(SETTINGS[cell.scenario])
    settings |= {} if cell.rate is None else {"train": {"lr": cell.rate}}
    read = _rate_line if cell.stage == "rates" else _run_line
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        try:
            found = read(run(scenario, cell.method, out=out, seed=cell.seed, settings=settings))
        except NonFiniteLossError as error:
            found = {"nats": None, "diverged": str(error)}
    own = {"scenario": cell.scenario, "method": cell.method, "lr": cell.rate, "seed": cell.seed}
    return own | found


def _rate_line(record: RunRecord) -> Row:
    last = {row.metric: row.value for row in record.score_rows if row.experience == 0}
    return {"nats": round(last["nats_per_token"], 4), "accuracy": round(last["accuracy"], 4)}


def _run_line(record: RunRecord) -> Row:
    found = scores(record.matrix(), record.baseline())
    drift = [nats[-1] - nats[0] for nats in record.probes().values()]
    spent, learning = costs(record), [e for e in record.events() if "training_seconds" in e][1:]
    steps = sum(event["step"] for event in learning)
    seconds = sum(event["training_seconds"] for event in learning)
    return {
        "learning": found["learning_accuracy"],
        "average": found["average_accuracy"],
        "forgetting": found["forgetting.chaudhry2018"],
        "drift": drift[0] if drift else None,
        "trained": int(spent["trained_numbers"]),
        "stored": int(spent["stored_numbers"]),
        "seconds_per_step": round(seconds / steps, 5) if steps else None,
    }


def work(cells: Sequence[Cell], path: Path, jobs: int) -> None:
    """Make every run that the file does not have yet, a line for each as it ends."""
    done = {(r["scenario"], r["method"], r["lr"], r["seed"]) for r in lines(path)}
    missing = [cell for cell in cells if cell.key not in done]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_alone) as pool:
        futures = [pool.submit(outcome, cell) for cell in missing]
        for future in track(as_completed(futures), path.stem, total=len(futures)):
            with path.open("a") as file:
                file.write(json.dumps(future.result()) + "\n")


def _alone() -> None:
    import torch

    torch.set_num_threads(1)


def lines(path: Path) -> list[Row]:
    """Return the finished lines of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description="Every method on the same tasks.")
    parser.add_argument("stage", choices=("rates", "runs"))
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    given = parser.parse_args()
    rates, runs = given.out / "rates.jsonl", given.out / "runs.jsonl"
    if given.stage == "rates":
        work(rate_cells(), rates, given.jobs)
    else:
        work(run_cells(lines(rates)), runs, given.jobs)


if __name__ == "__main__":
    main()
