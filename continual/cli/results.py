"""``continual report``, ``compare``, ``scores``, ``check`` and ``export``: what became of runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from continual.cli.options import AsJson, app, print_json
from continual.errors import InputError

Baseline = Annotated[
    str | None, typer.Option(help="A method to compare the others with; default: lora.")
]


class Form(StrEnum):
    """What ``continual export`` can write."""

    lora = "lora"
    merged = "merged"


@app.command(epilog="Example: continual report runs/study/*-seed* --out forgetting.html")
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run directories.")],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
    baseline: Baseline = None,
) -> None:
    """Write an HTML page and a Markdown file about finished or unfinished runs."""
    from continual.reports import write_report

    page, text = write_report(directories, out, baseline=baseline)
    typer.echo(f"report: {page.resolve()}\nmarkdown: {text.resolve()}")


@app.command(epilog="Example: continual compare runs/study/*-seed* --baseline lora")
def compare(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run directories.")],
    baseline: Baseline = None,
) -> None:
    """Print the methods side by side, and against a baseline."""
    from continual.reports import open_runs
    from continual.reports.terminal import print_comparison

    print_comparison(open_runs(directories), baseline=baseline)


@app.command(
    epilog="Example: continual scores runs/mine --json, or --matrix R.csv, or "
    "--from avalanche csvlogs/eval_results.csv"
)
def scores(
    directory: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A run directory.")
    ] = None,
    matrix: Annotated[
        str | None, typer.Option(help="R as a CSV or JSON file, or - for standard input.")
    ] = None,
    source: Annotated[
        tuple[str, Path] | None,
        typer.Option("--from", help="avalanche, mammoth or trace, and what it wrote."),
    ] = None,
    percent: Annotated[bool, typer.Option(help="The scores of --matrix are percentages.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the retained accuracy matrix of a run and every score, by definition."""
    from continual.interop.matrices import read_framework, read_matrix
    from continual.listing import scores_of, scores_of_matrix
    from continual.records import RunRecord
    from continual.reports.terminal import print_foreign, print_matrix

    if sum(given is not None for given in (directory, matrix, source)) != 1:
        raise InputError("give one of: a run directory, --matrix FILE, --from FRAMEWORK FILE.")
    if directory is not None:
        record = RunRecord.open(directory)
        if as_json:
            print_json(scores_of(record))
        else:
            print_matrix(record)
        return
    if source is not None:
        found = read_framework(*source)
    else:
        found = read_matrix(_text(str(matrix)), percent=percent)
    if as_json:
        print_json(scores_of_matrix(found))
    else:
        print_foreign(found.tasks, found.R, found.b)


def _text(name: str) -> str:
    if name == "-":
        return typer.get_text_stream("stdin").read()
    if not Path(name).is_file():
        raise InputError(f"there is no file {name}; give a CSV or JSON file, or - for stdin.")
    return Path(name).read_text()


@app.command(
    epilog="Example: continual check runs/mine --max-forgetting 0.05 --max-perplexity-ratio 1.1 "
    "--min-accuracy food=0.8 --baseline runs/accepted"
)
def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    max_forgetting: Annotated[
        float | None, typer.Option(help="Largest forgetting.chaudhry2018.")
    ] = None,
    max_perplexity_ratio: Annotated[
        float | None, typer.Option(help="Largest perplexity ratio of any probe.")
    ] = None,
    min_accuracy: Annotated[
        list[str] | None,
        typer.Option(help="TASK=SCORE at the end; average=SCORE for their mean; repeatable."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="An accepted run, than which nothing may be worse.")
    ] = None,
    tolerance: Annotated[float, typer.Option(help="By how much it may be, all the same.")] = 0.0,
) -> None:
    """Check a run against limits: exit code 0 where all hold, 1 where one does not."""
    from continual.records import RunRecord
    from continual.reports.gate import check as check_run

    found = check_run(
        RunRecord.open(directory),
        max_forgetting=max_forgetting,
        max_perplexity_ratio=max_perplexity_ratio,
        min_accuracy=dict(_limit(text) for text in min_accuracy or []),
        baseline=None if baseline is None else RunRecord.open(baseline),
        tolerance=tolerance,
    )
    for criterion in found:
        typer.echo(str(criterion))
    raise typer.Exit(0 if all(criterion.passed for criterion in found) else 1)


def _limit(text: str) -> tuple[str, float]:
    task, _, value = text.rpartition("=")
    try:
        return task, float(value)
    except ValueError:
        raise InputError(
            f"--min-accuracy takes TASK=SCORE, as in food=0.8; got {text!r}."
        ) from None


@app.command(epilog="Example: continual export runs/mine --to lora adapters/mine")
def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The directory to write.")],
    to: Annotated[Form, typer.Option(help="A PEFT LoRA adapter, or a whole merged model.")],
    after: Annotated[
        int | None, typer.Option(help="The state after this experience (from 0); default: last.")
    ] = None,
) -> None:
    """Write what a run learned in a form that plain peft or transformers loads."""
    from continual.interop.export import export_run

    typer.echo(f"{to.value}: {export_run(directory, out, form=to.value, after=after).resolve()}")
