"""Choose each method's learning rate on the first task of a scenario, by its validation split.

Test examples and later tasks are never looked at: the first task is cut off, and its validation
split takes the place of its test split. Chosen is the lowest rate whose mean validation loss over
seeds is within 0.1 nats per token of the best one (a split of a few dozen examples is too coarse
to choose by accuracy, which is reported beside it).

    python analysis/rates/choose.py pydocs --out analysis/rates/results.json
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from continual import Scenario, load_scenario, run
from continual.runs.progress import reporter
from continual.scenario import held_out
from continual.studies import lowest_within


def sweep(
    scenario: Scenario, methods: list[str], rates: list[float], seeds: list[int]
) -> list[dict[str, str | float]]:
    """Return one row per method and rate: mean validation nats per token and accuracy."""
    rows: list[dict[str, str | float]] = []
    tell = reporter(quiet=False)
    for method in methods:
        for rate in rates:
            found = [outcome(scenario, method, rate, seed) for seed in seeds]
            nats, accuracy = np.mean(found, axis=0).round(4).tolist()
            rows.append({"method": method, "lr": rate, "nats": nats, "accuracy": accuracy})
            tell.note(f"{method} at {rate:g}: {nats:.3f} nats per token, accuracy {accuracy:.3f}")
    return rows


def outcome(scenario: Scenario, method: str, rate: float, seed: int) -> tuple[float, float]:
    """Return validation nats per token and accuracy of one run."""
    with tempfile.TemporaryDirectory() as folder:
        record = run(
            scenario,
            method,
            out=Path(folder) / "run",
            seed=seed,
            settings={"train": {"lr": rate}},
        )
    last = [row for row in record.score_rows if row.experience == 0]
    (nats,) = (row.value for row in last if row.metric == "nats_per_token")
    return nats, float(record.matrix()[0, 0])


def choose(rows: list[dict[str, str | float]], method: str) -> float:
    """Return the lowest rate of a method whose loss is within the margin of its best."""
    own = {float(row["lr"]): float(row["nats"]) for row in rows if row["method"] == method}
    return lowest_within(own)


def main() -> None:
    """Run the sweep and write the table."""
    parser = argparse.ArgumentParser(description="Choose learning rates on the first task.")
    parser.add_argument("scenario", help="a scenario of texts with labels")
    parser.add_argument("--methods", default="lora,inclora,curlora,nlora,slora,full")
    parser.add_argument("--rates", default="1e-3,3e-3,1e-2,3e-2,1e-1")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    given = parser.parse_args()
    scenario = held_out(load_scenario(given.scenario), 1)
    rates = [float(rate) for rate in given.rates.split(",")]
    seeds = [int(seed) for seed in given.seeds.split(",")]
    rows = sweep(scenario, given.methods.split(","), rates, seeds)
    chosen = {method: choose(rows, method) for method in given.methods.split(",")}
    result = {"scenario": given.scenario, "seeds": seeds, "chosen": chosen, "rows": rows}
    given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
