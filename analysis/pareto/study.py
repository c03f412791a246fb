"""Learning against drift: what a method learns, and what the backbone loses for it, by rate.

    python analysis/pareto/study.py --runs RUNS --out analysis/pareto [--jobs 2]

Every method learns `pydocs` at several learning rates, three seeds each, all of them under heads on
the model's last token (``backbone.heads``), as in the CURLoRA paper, so that head-only, a linear
probe whose drift is zero by construction, is one of them. The figure shows learning accuracy (and
average accuracy at the end) against the perplexity drift on the language reference; up and left is
better. An interrupted study goes on in RUNS where it stopped.
"""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib

from continual import load_scenario
from continual.metrics import scores
from continual.records import RunRecord
from continual.runs.progress import reporter
from continual.studies import Grid, run_study

RATES = {
    "lora": ("3e-4", "1e-3", "3e-3"),
    "curlora": ("3e-3", "1e-2", "3e-2"),
    "nlora": ("3e-4", "1e-3", "3e-3"),
    "slora": ("3e-4", "1e-3", "3e-3"),
    "head-only": ("1e-3", "1e-2", "1e-1"),
}
SCORES = {"learning": "learning_accuracy", "average": "average_accuracy"}
NAMES = {"learning": "learning accuracy", "average": "average accuracy at the end"}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run."""

    method: str
    lr: float
    seed: int
    learning: float
    average: float
    forgetting: float
    drift: float  # nats per token


def variants() -> list[str]:
    """Return what the study compares, as ``continual study --methods`` takes it."""
    return [f"{method}:train.lr={rate}" for method, rates in RATES.items() for rate in rates]


def point(record: RunRecord) -> Point:
    """Return what a figure needs of a run."""
    found = scores(record.matrix(), record.baseline())
    (nats,) = record.probes().values()
    return Point(
        method=record.method,
        lr=record.config["train"]["lr"],
        seed=record.seed,
        learning=round(float(found["learning_accuracy"] or 0.0), 4),
        average=round(float(found["average_accuracy"] or 0.0), 4),
        forgetting=round(float(found["forgetting.chaudhry2018"] or 0.0), 4),
        drift=round(nats[-1] - nats[0], 4),
    )


def draw(points: list[Point], majority: float, out: Path) -> None:
    """Draw one line per method through the means over seeds; thin crosses span the seeds."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), sharex=True)
    for axes, score in zip(panels, SCORES, strict=True):
        for k, method in enumerate(RATES):
            own = [p for p in points if p.method == method]
            rates = sorted({p.lr for p in own})
            groups = [[p for p in own if p.lr == rate] for rate in rates]
            x = [mean(p.drift for p in group) for group in groups]
            y = [mean(getattr(p, score) for p in group) for group in groups]
            axes.plot(x, y, "o-", color=f"C{k}", label=method)
            for group, a, b in zip(groups, x, y, strict=True):
                drifts, values = [p.drift for p in group], [getattr(p, score) for p in group]
                axes.plot([min(drifts), max(drifts)], [b, b], color=f"C{k}", lw=0.8)
                axes.plot([a, a], [min(values), max(values)], color=f"C{k}", lw=0.8)
        axes.axhline(majority, color="k", ls=":", lw=1, label="majority class")
        axes.set(xlabel="perplexity drift, nats per token", ylabel=NAMES[score])
        axes.set_xscale("symlog", linthresh=0.1)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(out, dpi=130)


def table(points: list[Point]) -> str:
    """Return the means over seeds as Markdown."""
    lines = [
        "| method | rate | seeds | learning | average | forgetting.chaudhry2018 | drift, nats |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, lr in dict.fromkeys((p.method, p.lr) for p in points):
        own = [p for p in points if (p.method, p.lr) == (method, lr)]
        cells = [mean(getattr(p, name) for p in own) for name in (*SCORES, "forgetting", "drift")]
        numbers = [f"{cell:.3f}" for cell in cells[:3]] + [f"{cells[3]:+.2f}"]
        lines.append(f"| `{method}` | {lr:g} | {len(own)} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing, then write results.json, table.md and pareto.png."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, required=True, help="where the run directories are")
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once")
    given = parser.parse_args()
    records = run_study(
        load_scenario("pydocs"),
        Grid.parse(",".join(variants()), given.seeds),
        out=given.runs,
        settings={"backbone": {"heads": True}},
        jobs=given.jobs,
        reporter=reporter(quiet=False),
    )
    points = [point(record) for record in records]
    majority = float(records[0].majority().mean())
    given.out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {"majority": majority, "points": [asdict(p) for p in points]}
    (given.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    (given.out / "table.md").write_text(table(points) + "\n")
    draw(points, majority, given.out / "pareto.png")
    print(table(points))


if __name__ == "__main__":
    main()
