"""``continual data``: what a scenario reads, writing it into a folder, checking such a folder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from continual.cli.options import AsJson, Quiet, app, print_json
from continual.errors import InputError


@app.command(
    epilog="Example: continual data cl-standard-4 --out texts, carry the folder to a machine "
    "without internet, and there: continual run cl-standard-4 --data texts ..."
)
def data(
    scenario: Annotated[str, typer.Argument(help="A name of the catalogue, or a YAML file.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="A new folder: read the sources and write them.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="A folder for --data: say what is in it.")
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Print what a scenario reads and how --data is laid out; or write, or check, such a folder."""
    from continual.reports.terminal import print_rows
    from continual.runs.progress import reporter
    from continual.scenario import load_scenario
    from continual.scenario.layout import layout, survey
    from continual.scenario.writing import write_data

    if out is not None and check is not None:
        raise InputError("give --out to write a folder or --check to look at one, not both.")
    found = load_scenario(scenario)
    if out is not None:
        with reporter(quiet) as tell:
            steps = len(found.tasks) + len(found.probes)
            written = write_data(found, out, lambda i, name: tell.step(f"reading {name}", i, steps))
        typer.echo(f"data: {written}\nnext: continual run {scenario} --data {written}")
        return
    if check is None:
        rows = layout(found)
        if as_json:
            print_json({"description": found.description, "reads": rows})
            return
        typer.echo(f"{found.name}: {found.description}\n")
        shown = {row["folder"]: {key: row[key] for key in READS} for row in rows}
        print_rows(list(shown.values()))
        typer.echo(LAYOUT)
        return
    rows = survey(found, check)
    if as_json:
        print_json(rows)
    else:
        print_rows([_shown(row, check) for row in rows])
    problems = list(dict.fromkeys(row["problem"] for row in rows if row["problem"]))
    if problems:
        raise InputError(f"{check} has {len(problems)} problem(s):\n  " + "\n  ".join(problems))
    typer.echo(f"{check}: complete.")


def _shown(row: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a row of the survey as a terminal shows it."""
    missing = "MISSING" if row["problem"] else "none"
    file = missing if row["file"] is None else Path(row["file"]).relative_to(folder.resolve())
    numbers = {key: "" if row[key] is None else row[key] for key in ("rows", "used")}
    return {"name": row["name"], "part": row["part"], "file": str(file), **numbers}


READS = ("folder", "columns", "reads", "limit")  # what a terminal has room for
LAYOUT = """
With --data DIR the same is read from files, under our own column names:
  DIR/<folder>/train.EXT, test.EXT and, where there is one, validation.EXT or dev.EXT
  EXT: csv, tsv, json, jsonl or parquet (also .gz, .bz2, .xz, .zst); text has txt too, a line a row
  images: DIR/<folder>/train/<label>/*.png, or parquet
Labels are the scenario's names; without a validation file a share of train is used."""
