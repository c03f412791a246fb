"""Choose the weights of EWC, LwF and O-LoRA on the first two tasks of a scenario, by validation.

Both tasks are learned in turn; chosen is the weight with the lowest validation loss, averaged over
the two tasks after the second one. Test examples and later tasks are never looked at.

    python analysis/rates/penalties.py pydocs --out analysis/rates/penalties.json
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from continual import load_scenario
from continual.runs.progress import reporter
from continual.scenario import held_out
from continual.studies import Grid, run_study

WEIGHTS = {
    "ewc": (1e1, 1e2, 1e3, 1e4, 1e5),
    "lwf": (0.1, 0.3, 1.0, 3.0, 10.0),
    "olora": (0.5, 5.0, 50.0, 500.0),
}


def main() -> None:
    """Run the sweep and write the table."""
    parser = argparse.ArgumentParser(description="Choose the weights of EWC and LwF.")
    parser.add_argument("scenario", help="a scenario of texts with labels")
    parser.add_argument("--methods", default=",".join(WEIGHTS), help="some of ewc, lwf, olora")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    given = parser.parse_args()
    scenario = held_out(load_scenario(given.scenario), 2)
    methods = given.methods.split(",")
    section = {m: "method" if m == "olora" else m for m in methods}
    variants = ["lora", *(f"{m}:{section[m]}.lam={w:g}" for m in methods for w in WEIGHTS[m])]
    grid = Grid.parse(",".join(variants), given.seeds)
    with tempfile.TemporaryDirectory() as folder:
        records = run_study(
            scenario, grid, out=Path(folder), jobs=given.jobs, reporter=reporter(quiet=False)
        )
    rows = []
    for variant in variants:
        own = [r for (v, _), r in zip(grid.cells(), records, strict=True) if v == variant]
        last = [row for r in own for row in r.score_rows if row.experience == 1]
        nats = [row.value for row in last if row.metric == "nats_per_token"]
        scores = [r.matrix() for r in own]
        rows.append(
            {
                "variant": variant,
                "nats": round(float(np.mean(nats)), 4),
                "first": round(float(np.mean([R[1, 0] for R in scores])), 4),
                "first_before": round(float(np.mean([R[0, 0] for R in scores])), 4),
                "second": round(float(np.mean([R[1, 1] for R in scores])), 4),
            }
        )
        print(rows[-1])
    chosen = {
        method: min((row for row in rows if str(row["variant"]).startswith(method)), key=_nats)
        for method in methods
    }
    result = {"scenario": given.scenario, "seeds": given.seeds, "chosen": chosen, "rows": rows}
    given.out.write_text(json.dumps(result, indent=1) + "\n")


def _nats(row: dict[str, str | float]) -> float:
    return float(row["nats"])


if __name__ == "__main__":
    main()
