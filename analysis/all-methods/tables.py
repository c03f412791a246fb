"""table.md and tradeoff.png from the finished runs of study.py.

python analysis/all-methods/tables.py --out analysis/all-methods
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from study import SETTINGS, Row, lines, rows_of

from continual.metrics import Estimate, estimate

CONTROLS = ("frozen", "head-only", "lora", "per-task", "joint", "full")
COLUMNS = {
    "learning": "learning accuracy",
    "average": "average accuracy at the end",
    "forgetting": "forgetting (chaudhry2018)",
    "drift": "drift, nats per token",
}


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of table.md."""
    for scenario in SETTINGS:
        own = [row for row in rows if row["scenario"] == scenario]
        columns = [c for c in COLUMNS if any(row[c] is not None for row in own)]
        heads = ["method", "seeds", "rate", *(COLUMNS[c] for c in columns)]
        heads += ["trained", "stored", "ms per step"]
        yield f"\n## {scenario}\n"
        yield f"| {' | '.join(heads)} |"
        yield "|" + "---|" * len(heads)
        for method in sorted({row["method"] for row in own}, key=rows_of(scenario).index):
            runs = [row for row in own if row["method"] == method]
            name = f"{method} (control)" if method in CONTROLS else method
            rate = "–" if runs[0]["lr"] is None else f"{runs[0]['lr']:g}"
            cells = [name, str(len(runs)), rate, *(_cell(runs, c) for c in columns)]
            cells += [f"{runs[0]['trained']:,}", f"{runs[0]['stored']:,}", _pace(runs)]
            yield f"| {' | '.join(cells)} |"


def _cell(runs: Sequence[Row], column: str) -> str:
    found = _estimate(runs, column)
    if found is None:
        return "–"
    if found.interval is None:
        return f"{found.mean:.3f}"
    return f"{found.mean:.3f} [{found.interval[0]:.3f}, {found.interval[1]:.3f}]"


def _estimate(runs: Sequence[Row], column: str) -> Estimate | None:
    values = [row[column] for row in runs if row[column] is not None]
    return estimate(values) if values else None


def _pace(runs: Sequence[Row]) -> str:
    values = [row["seconds_per_step"] for row in runs if row["seconds_per_step"]]
    return f"{1000 * float(np.median(values)):.0f}" if values else "–"


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw forgetting against learning accuracy, one labelled point per method and scenario."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(SETTINGS), figsize=(15, 7), layout="constrained")
    for axes, scenario in zip(panels, SETTINGS, strict=True):
        own = [row for row in rows if row["scenario"] == scenario]
        for method in dict.fromkeys(row["method"] for row in own):
            runs = [row for row in own if row["method"] == method]
            x, y = _estimate(runs, "learning"), _estimate(runs, "forgetting")
            if x is None or y is None:
                continue
            control = method in CONTROLS
            colour = "#D55E00" if control else "#0072B2"
            axes.plot(x.mean, y.mean, "s" if control else "o", color=colour, markersize=5)
            place = {"textcoords": "offset points", "xytext": (4, 3), "fontsize": 7}
            axes.annotate(method, (x.mean, y.mean), **place)
        axes.set(xlabel="learning accuracy", ylabel="forgetting", title=scenario)
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description="The table and the figure of the study.")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    given = parser.parse_args()
    rows = [row for row in lines(given.out / "runs.jsonl") if "diverged" not in row]
    (given.out / "table.md").write_text("\n".join(tables(rows)).lstrip() + "\n")
    draw(rows, given.out / "tradeoff.png")


if __name__ == "__main__":
    main()
