"""table.md and tradeoff.png from the finished runs of study.py.

python analysis/all-methods/tables.py --out analysis/all-methods
"""

import argparse
from collections.abc import Iterator, Sequence
from math import cos, radians, sin
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib
from study import SETTINGS, Row, chosen, lines, rows_of

from continual import load_scenario
from continual.metrics import Estimate, estimate, paired
from continual.trackers.retained import majority_rows

CONTROLS = ("frozen", "head-only", "lora", "per-task", "joint", "full")
COLUMNS = {
    "learning": "learning accuracy",
    "average": "average accuracy at the end",
    "forgetting": "forgetting (chaudhry2018)",
    "drift": "drift, nats per token",
}


def tables(rows: Sequence[Row], rates: Sequence[Row], paces: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of table.md."""
    for scenario in SETTINGS:
        own = [row for row in rows if row["scenario"] == scenario]
        columns = [c for c in COLUMNS if any(row.get(c) is not None for row in own)]
        heads = ["method", "seeds", "rate", *(COLUMNS[c] for c in columns)]
        heads += ["average, less LoRA's at this rate", "trained", "stored", "ms per step"]
        yield f"\n## {scenario}\n"
        yield f"| {' | '.join(heads)} |"
        yield "|" + "---|" * len(heads)
        yield f"| commonest class (control) | | | {_majority(scenario, columns)} | | | | |"
        for name, runs in groups(own, rates):
            whole = [row for row in runs if "diverged" not in row]
            rate = "–" if runs[0]["lr"] is None else f"{runs[0]['lr']:g}"
            lost = "" if len(whole) == len(runs) else f" ({len(runs) - len(whole)} diverged)"
            cells = [name, f"{len(runs)}{lost}", rate, *(_cell(whole, c) for c in columns)]
            cells += [_beside_lora(whole, own)]
            cells += [f"{whole[0][c]:,}" if whole else "–" for c in ("trained", "stored")]
            cells += [_pace(paces, scenario, runs[0]["method"])]
            yield f"| {' | '.join(cells)} |"


def groups(rows: Sequence[Row], rates: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield the lines of every row of a scenario's table, with its name."""
    scenario = rows[0]["scenario"]
    for method in rows_of(scenario):
        own = chosen(rates, scenario, method)
        found = {row["lr"] for row in rows if row["method"] == method}
        for rate in sorted(found, key=lambda rate: (rate != own, rate)):
            runs = [row for row in rows if (row["method"], row["lr"]) == (method, rate)]
            name = method if rate == own else f"{method} at {rate:g}"
            yield f"{name} (control)" if method in CONTROLS else name, runs


def _majority(scenario: str, columns: Sequence[str]) -> str:
    """Return the cells of a line that has only an accuracy."""
    shares = [row.value for row in majority_rows(load_scenario(scenario))]
    return " | ".join(f"{mean(shares):.3f}" if column == "average" else "" for column in columns)


def _cell(runs: Sequence[Row], column: str) -> str:
    return _words(_estimate(runs, column))


def _beside_lora(runs: Sequence[Row], every: Sequence[Row]) -> str:
    """Return what the seeds have in common with LoRA's at the same rate taken away."""
    lora = {(r["lr"], r["seed"]): r["average"] for r in every if r["method"] == "lora"}
    pairs = [
        (run["average"], lora[run["lr"], run["seed"]])
        for run in runs
        if run["method"] != "lora" and (run["lr"], run["seed"]) in lora
    ]
    if not pairs:
        return "–"
    mine, others = zip(*pairs, strict=True)
    return _words(paired(mine, others).difference, "+.3f")


def _words(found: Estimate | None, form: str = ".3f") -> str:
    if found is None:
        return "–"
    if found.interval is None:
        return f"{found.mean:{form}}"
    low, high = found.interval
    return f"{found.mean:{form}} [{low:{form}}, {high:{form}}]"


def _estimate(runs: Sequence[Row], column: str) -> Estimate | None:
    values = [row[column] for row in runs if row.get(column) is not None]
    return estimate(values) if values else None


def _pace(paces: Sequence[Row], scenario: str, method: str) -> str:
    own = [r["ms_per_step"] for r in paces if (r["scenario"], r["method"]) == (scenario, method)]
    return f"{own[0]:.0f}" if own and own[0] is not None else "–"


def draw(rows: Sequence[Row], rates: Sequence[Row], path: Path) -> None:
    """Draw forgetting against learning accuracy, one labelled point per method and scenario."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(SETTINGS), figsize=(17, 10), layout="constrained")
    for axes, scenario in zip(panels, SETTINGS, strict=True):
        own, named = [row for row in rows if row["scenario"] == scenario], []
        for name, runs in groups(own, rates):
            method = name.partition(" ")[0]
            x, y = _estimate(runs, "learning"), _estimate(runs, "forgetting")
            if x is None or y is None:
                continue
            control = method in CONTROLS
            colour = "#D55E00" if control else "#0072B2"
            axes.plot(x.mean, y.mean, "s" if control else "o", color=colour, markersize=5)
            named.append((name.removesuffix(" (control)"), (x.mean, y.mean)))
        axes.set(xlabel="learning accuracy", ylabel="forgetting", title=scenario)
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.12)
        figure.draw_without_rendering()  # so that it is known where everything lies
        write_names(axes, named)
    figure.savefig(path, dpi=130, metadata={"Software": None})


def write_names(axes: Any, named: Sequence[tuple[str, tuple[float, float]]]) -> None:
    """Write names beside their points, where they hide neither a point nor another name."""
    from matplotlib.transforms import Bbox

    points = [axes.transData.transform(place) for _, place in named]
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in points]
    ways = [(r, a) for r in range(8, 160, 6) for a in range(0, 360, 20)]  # near ones first
    for (name, place), (x, y) in zip(named, points, strict=True):
        wide, high = 4.6 * len(name) + 2, 11.0  # pixels of the letters below
        for radius, angle in ways:
            dx, dy = radius * cos(radians(angle)), radius * sin(radians(angle))
            left = x + dx - (wide if dx < -1e-6 else 0.0)
            box = Bbox.from_bounds(left, y + dy - high / 2, wide, high)
            if not any(box.overlaps(other) for other in taken):
                break
        taken.append(box)
        axes.annotate(
            name,
            place,
            xytext=axes.transData.inverted().transform((left + 1, y + dy)),
            va="center",
            fontsize=7,
            arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.5, "shrinkB": 2},
        )


def main() -> None:
    """Write both."""
    parser = argparse.ArgumentParser(description="The table and the figure of the study.")
    parser.add_argument("--out", type=Path, required=True, help="the folder of the results")
    given = parser.parse_args()
    rows, rates = lines(given.out / "runs.jsonl"), lines(given.out / "rates.jsonl")
    (given.out / "table.md").write_text(
        "\n".join(tables(rows, rates, lines(given.out / "paces.jsonl"))).lstrip() + "\n"
    )
    draw(rows, rates, given.out / "tradeoff.png")


if __name__ == "__main__":
    main()
