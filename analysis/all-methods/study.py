"""Every method on the same tasks: learning, forgetting, drift and cost in one table.

    python analysis/all-methods/study.py rates  --out analysis/all-methods [--jobs 2]
    python analysis/all-methods/study.py runs   --out analysis/all-methods [--jobs 2]
    python analysis/all-methods/study.py paces  --out analysis/all-methods      (nothing beside it)
    python analysis/all-methods/tables.py --out analysis/all-methods

`rates` tries learning rates of each method on the first task of each scenario, tested on that
task's validation split, seed 0. Chosen is the lowest rate whose validation loss is within 0.1 nats
of the best; where that is the lowest that was tried, a lower one is tried, and where the highest
has the best loss and another could be better by more than this margin, a higher one. `runs` then
learns the whole sequence with three seeds, and LoRA also at every rate that another method has;
`paces` times 30 steps of the first task alone, one thread, one run at a time. Each finished cell is
one line of rates.jsonl, runs.jsonl or paces.jsonl with the commit it was made with, and an
interrupted study does only what is missing there. Every method gets the same steps, batches, layers
and schedule; one that diverged has no numbers.
"""

import argparse
import json
import multiprocessing
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from rich.progress import track

from continual import load_scenario, run
from continual.adapters import METHODS
from continual.metrics import scores
from continual.records import RunRecord
from continual.reports.costs import costs
from continual.scenario import held_out
from continual.studies import lowest_within, next_rates
from continual.training.non_finite import NonFiniteLossError

SEEDS = (0, 1, 2)
SETTINGS: dict[str, dict[str, Any]] = {  # the shorter runs first
    "split-digits": {"evaluation": {"policy": "lower"}},
    "pydocs": {"evaluation": {"policy": "lower"}},
}
WIDE = (1e-3, 3e-3, 1e-2, 3e-2)
RATES: dict[str, tuple[float, ...]] = {  # where another range to begin with is known to be needed
    "curlora": (1e-2, 3e-2, 1e-1, 3e-1),
    "full": (1e-4, 3e-4, 1e-3, 3e-3),
    "loko": (0.1, 0.3, 1.0),  # shares of the filter's own step
}
# On a first task these are LoRA to the last bit, so LoRA's rate is theirs.
AS_LORA = ("joint", "per-task", "replay", "ewc", "lwf", "inclora", "olora")
PEFT = tuple(
    f"peft:{name}"
    for name in (
        *("dora", "eva", "olora", "pissa", "randlora", "vera", "peanut", "hira", "mica", "osf"),
        *("prefix_tuning", "ln_tuning", "ia3"),
    )
)
NOT_HERE = {  # two need heads, and prefixes a language model without them
    "pydocs": ("head-only", "loko"),
    "split-digits": ("peft:prefix_tuning",),
}

OWN = {  # what a method needs to be told on a scenario
    ("split-digits", "peft:ln_tuning"): {"targets": ["layernorm_before", "layernorm_after"]},
    ("split-digits", "peft:ia3"): {
        "targets": ["q_proj", "v_proj", "fc2"],
        "feedforward_modules": ["fc2"],
    },
    # A task has 36 steps there, too few for the defaults: nothing would restart or be pruned.
    ("split-digits", "cola"): {"every": 10},
    ("split-digits", "periodic-lora"): {"every": 10},
    ("split-digits", "rac-lora"): {"every": 10},
    ("split-digits", "dynamic-dora"): {"first": 10, "last": 100, "every": 5},
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


def rate_cells(rates: Sequence[Row]) -> list[Cell]:
    """Return what the first stage needs, as far as it is known by what it has found."""
    return [
        Cell("rates", scenario, method, rate, 0)
        for scenario in SETTINGS
        for method in rows_of(scenario)
        if method not in (*AS_LORA, "frozen")
        for rate in tried(rates, scenario, method)
    ]


def tried(rates: Sequence[Row], scenario: str, method: str) -> list[float]:
    """Return the rates to try: those to begin with, and beyond them while the choice is open."""
    begun = list(RATES.get(method, WIDE))
    own = losses(rates, scenario, method)
    if not set(begun) <= set(own):
        return begun
    return [*own, *next_rates(own)]


def run_cells(rates: Sequence[Row]) -> list[Cell]:
    """Return what the second stage needs, scenario by scenario, with the chosen rates.

    LoRA at the rates of the others is the control of those that need a high or a low one.
    """
    cells = []
    for scenario in SETTINGS:
        of = {method: chosen(rates, scenario, method) for method in rows_of(scenario)}
        others = {rate for method, rate in of.items() if rate is not None and method != "loko"}
        wanted = [*of.items(), *(("lora", rate) for rate in sorted(others - {of["lora"]}))]
        cells += [Cell("runs", scenario, m, rate, seed) for seed in SEEDS for m, rate in wanted]
    return cells


def pace_cells(rates: Sequence[Row]) -> list[Cell]:
    """Return what the last stage needs."""
    return [
        Cell("paces", scenario, method, chosen(rates, scenario, method), SEEDS[0])
        for scenario in SETTINGS
        for method in rows_of(scenario)
    ]


def chosen(rates: Sequence[Row], scenario: str, method: str) -> float | None:
    """Return the lowest rate whose loss is within the margin of the method's best."""
    if method == "frozen":
        return None
    name = "lora" if method in AS_LORA else method
    known = losses(rates, scenario, name)
    if min(known.values(), default=inf) == inf:
        raise SystemExit(f"no rate of {name} on {scenario} is known; run the stage `rates` first.")
    return lowest_within(known)


def losses(rates: Sequence[Row], scenario: str, method: str) -> dict[float, float]:
    """Return the validation loss of a method by rate, infinite where it diverged."""
    own = [row for row in rates if (row["scenario"], row["method"]) == (scenario, method)]
    return {row["lr"]: inf if row["nats"] is None else row["nats"] for row in own}


def outcome(cell: Cell) -> Row:
    """Make one run in a folder that goes away, and return its line."""
    whole = load_scenario(cell.scenario)
    scenario = whole if cell.stage == "runs" else held_out(whole)
    train = {} if cell.rate is None else {"lr": cell.rate}
    settings: dict[str, Any] = {"method": OWN.get((cell.scenario, cell.method), {})}
    settings |= dict(SETTINGS[cell.scenario]) if cell.stage == "runs" else {}
    settings |= {"train": train | ({"max_steps": 30} if cell.stage == "paces" else {})}
    read = {"rates": _rate_line, "runs": _run_line, "paces": _pace_line}[cell.stage]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        try:
            found = read(run(scenario, cell.method, out=out, seed=cell.seed, settings=settings))
        except NonFiniteLossError as error:
            found = {"nats": None, "diverged": str(error)}
    own = {"scenario": cell.scenario, "method": cell.method, "lr": cell.rate, "seed": cell.seed}
    return own | found | {"commit": commit()}


def _rate_line(record: RunRecord) -> Row:
    last = {row.metric: row.value for row in record.score_rows if row.experience == 0}
    return {"nats": round(last["nats_per_token"], 4), "accuracy": round(last["accuracy"], 4)}


def _run_line(record: RunRecord) -> Row:
    found = scores(record.matrix(), record.baseline())
    drift = [nats[-1] - nats[0] for nats in record.probes().values()]
    spent = costs(record)
    return {
        "learning": found["learning_accuracy"],
        "average": found["average_accuracy"],
        "forgetting": found["forgetting.chaudhry2018"],
        "drift": drift[0] if drift else None,
        "trained": int(spent["trained_numbers"]),
        "stored": int(spent["stored_numbers"]),
    }


def _pace_line(record: RunRecord) -> Row:
    last = [event for event in record.events() if "training_seconds" in event][-1]
    steps = last["step"]
    return {"ms_per_step": round(1000 * last["training_seconds"] / steps, 2) if steps else None}


def commit() -> str:
    """Return the commit that this file is of."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def work(cells: Sequence[Cell], path: Path, jobs: int) -> None:
    """Make every run that the file does not have yet, a line for each as it ends.

    Lines of other cells, as of a rate that is not chosen any more, are dropped.
    """
    wanted = {cell.key for cell in cells}
    there = {(r["scenario"], r["method"], r["lr"], r["seed"]): r for r in lines(path)}
    kept = [json.dumps(row) + "\n" for key, row in there.items() if key in wanted]
    path.write_text("".join(kept))
    missing = [cell for cell in cells if cell.key not in there]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_alone) as pool:
        futures = [pool.submit(outcome, cell) for cell in missing]
        failed = []
        for future in track(as_completed(futures), path.stem, total=len(futures)):
            if future.exception() is not None:  # the others go on
                failed.append(str(future.exception()))
                continue
            with path.open("a") as file:
                file.write(json.dumps(future.result()) + "\n")
    if failed:
        raise SystemExit(f"{len(failed)} cells failed: " + "\n".join(failed))


def _alone() -> None:
    import torch

    torch.set_num_threads(1)


def lines(path: Path) -> list[Row]:
    """Return the finished lines of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def main() -> None:
    """Run one stage."""
    parser = argparse.ArgumentParser(description="Every method on the same tasks.")
    parser.add_argument("stage", choices=("rates", "runs", "paces"))
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    given = parser.parse_args()
    rates, path = given.out / "rates.jsonl", given.out / f"{given.stage}.jsonl"
    if given.stage == "rates":
        while len(cells := rate_cells(lines(rates))) > len(lines(rates)):
            work(cells, path, given.jobs)
    else:
        cells_of = {"runs": run_cells, "paces": pace_cells}[given.stage]
        work(cells_of(lines(rates)), path, given.jobs)


if __name__ == "__main__":
    main()
