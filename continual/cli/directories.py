"""``continual verify`` and ``fork``: what is done with a whole run directory."""

from pathlib import Path
from typing import Annotated

import typer

from continual.cli.options import AsJson, Data, Out, Quiet, Sets, app, print_json


@app.command(epilog="Example: continual verify runs/mine")
def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    as_json: AsJson = False,
) -> None:
    """Check every file of a run against its checksum, and its scores against its examples.

    Exit code 0: whole; 1: something is damaged, missing, unexpected or different.
    """
    from continual.reports.terminal import print_rows
    from continual.runs.verify import verify as verify_run

    found = verify_run(directory)
    if as_json:
        print_json(found.facts())
    else:
        told = [one for one in found.findings if one.state != "whole"]
        if told:
            print_rows([{"file": one.file, "state": one.state} for one in told])
        for one in told:
            words = [f"lost: {one.lost}." * bool(one.lost), one.way]
            typer.echo(" ".join(filter(None, [f"{one.file}:", *words])))
        counts = ", ".join(f"{count} {state}" for state, count in sorted(found.counts().items()))
        verdict = "whole" if found.whole else "NOT whole"
        typer.echo(
            f"{directory}: {verdict}. Files: {counts}. "
            f"{found.recomputed} scores follow from the rows they are the means of."
        )
    raise typer.Exit(0 if found.whole else 1)


@app.command(
    epilog="Example: continual fork runs/mine --after 1 --method curlora --out runs/mine-curlora"
)
def fork(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The run to fork.")],
    after: Annotated[
        int, typer.Option(help="The last experience that is taken over, counted from 0.")
    ],
    method: Annotated[str, typer.Option(help="What learns from there on.")],
    out: Out,
    scenario: Annotated[
        str | None, typer.Option(help="The run's scenario file, where it is not in the catalogue.")
    ] = None,
    data: Data = None,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """Go on from the middle of a run, with its method or another, in a new directory."""
    from continual.processes import refuse_launched
    from continual.reports.terminal import print_matrix
    from continual.runs.fork import fork as fork_run
    from continual.runs.progress import reporter
    from continual.runs.settings import parse_assignments

    refuse_launched("a fork")
    record = fork_run(
        directory,
        after=after,
        method=method,
        out=out,
        scenario=scenario,
        settings=parse_assignments(sets or []),
        data=data,
        reporter=reporter(quiet),
    )
    print_matrix(record)
