"""The table, the figure and the figures in full of a finished study.py.

    python analysis/cl-standard-4/tables.py minilm --runs RUNS --out analysis/cl-standard-4

Writes minilm.md, minilm.json and minilm.png (minilm-2.png for a second order of tasks); `against`
is the variant of LoRA that the others are compared with, by default the one with its own chosen
rate, which joint training has, too.
"""

import argparse
import json
from pathlib import Path

from continual.reports.against import against_tables
from continual.reports.comparison import comparison_tables, estimates, run_values
from continual.reports.figures import render
from continual.reports.groups import Group, group_runs
from continual.reports.markdown import table
from continual.reports.report import open_runs
from continual.reports.tradeoff import points, tradeoff
from continual.reports.verdict import warnings


def own_lora(group: Group) -> str:
    """Return the label of LoRA with the rate that was chosen for it."""
    (rate,) = {r.config["train"]["lr"] for r in group.records if r.method == "joint"}
    (label,) = {
        runs.label
        for runs in group.methods
        if runs.method == "lora" and runs.records[0].config["train"]["lr"] == rate
    }
    return label


def text(group: Group, against: str) -> str:
    """Return the tables of one order of tasks."""
    found = estimates(group)
    tables = [*comparison_tables(group, found), *against_tables(group, against)]
    blocks = [f"## {' → '.join(group.tasks)}, {group.setting}"]
    blocks += [part for one in tables for part in (f"{one.caption}.", table(one))]
    careful = warnings(group, against)
    if careful:
        blocks += ["Read with care:", "\n".join(f"- {sentence}" for sentence in careful)]
    return "\n\n".join(blocks)


def main() -> None:
    """Write all three."""
    parser = argparse.ArgumentParser(description="Tables of the standard benchmark.")
    parser.add_argument("config", help="name of the configuration that was run")
    parser.add_argument("--runs", type=Path, required=True, help="folder of study.py")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--against", help="the variant of LoRA to compare with")
    given = parser.parse_args()
    records = open_runs(sorted((given.runs / given.config).glob("order-*/*-seed*")))
    groups = group_runs(records)
    blocks = [text(group, given.against or own_lora(group)) for group in groups]
    (given.out / f"{given.config}.md").write_text("\n\n".join(blocks) + "\n")
    rows = [
        {
            "method": record.method,
            "lr": record.config["train"]["lr"],
            "seed": record.seed,
            "tasks": record.tasks,
            "R": record.matrix().tolist(),
            "b": record.baseline().tolist(),
        }
        | run_values(record)
        for record in records
    ]
    lines = ",\n".join(json.dumps(row) for row in rows)
    (given.out / f"{given.config}.json").write_text(f"[\n{lines}\n]\n")
    for k, group in enumerate(groups):
        figure = tradeoff(points(group, estimates(group)))
        name = f"{given.config}.png" if k == 0 else f"{given.config}-{k + 1}.png"
        (given.out / name).write_bytes(render(figure, "png"))


if __name__ == "__main__":
    main()
