"""The command. It parses, calls and prints; everything it does is in the library.

Exit codes: 0 done, 2 bad input (nothing was written), 1 failed.
"""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from continual.errors import InputError

app = typer.Typer(
    name="continual",
    help="Train one frozen pretrained model on a sequence of tasks, and see what it forgot.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)

Out = Annotated[Path, typer.Option("--out", help="Directory to write; an existing run goes on.")]
Seed = Annotated[int, typer.Option(help="Seed of data order, initialisation and dropout.", min=0)]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", help="NAME=VALUE, as train.lr=1e-3 or method.rank=4; repeatable."),
]
Order = Annotated[
    str | None, typer.Option(help="A named order of the scenario, or a number to shuffle by.")
]
BackboneName = Annotated[
    str | None, typer.Option(help="Embedded name, hub id or path; default: the scenario's.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only results and errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Kind(StrEnum):
    """What ``continual list`` can list."""

    scenarios = "scenarios"
    methods = "methods"
    metrics = "metrics"
    backbones = "backbones"


class Decomposition(StrEnum):
    """What ``continual decompose`` can do to a matrix."""

    cur = "cur"
    svd = "svd"


class Form(StrEnum):
    """What ``continual export`` can write."""

    lora = "lora"
    merged = "merged"


@app.command(
    epilog="Example: continual run pydocs --method curlora --set train.epochs=2 --out runs/mine"
)
def run(
    scenario: Annotated[str, typer.Argument(help="A name of the catalogue, or a YAML file.")],
    method: Annotated[str, typer.Option(help="See `continual list methods`.")],
    out: Out,
    backbone: BackboneName = None,
    seed: Seed = 0,
    order: Order = None,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """Train one method on a sequence of tasks; the same command again continues it."""
    from continual.reports.terminal import print_matrix
    from continual.runs.assemble import run as run_once
    from continual.runs.progress import reporter
    from continual.runs.settings import parse_assignments
    from continual.scenario import load_scenario

    settings = parse_assignments(sets or [])
    record = run_once(
        load_scenario(scenario, order=_order(order)),
        method,
        out=out,
        backbone=backbone,
        seed=seed,
        settings=settings,
        reporter=reporter(quiet),
    )
    print_matrix(record)


@app.command(
    epilog="Example: continual study pydocs --methods frozen,lora,curlora,lora:train.lr=0.03 "
    "--seeds 0,1,2 --out runs/study"
)
def study(
    scenario: Annotated[str, typer.Argument(help="A name of the catalogue, or a YAML file.")],
    methods: Annotated[
        str,
        typer.Option(
            help="Names separated by commas; lora:train.lr=0.03 has a setting of its own."
        ),
    ],
    out: Out,
    seeds: Annotated[str, typer.Option(help="Numbers separated by commas.")] = "0",
    backbone: BackboneName = None,
    order: Order = None,
    sets: Sets = None,
    engine: Annotated[str, typer.Option(help="local, or ray (needs the extra `ray`).")] = "local",
    jobs: Annotated[int, typer.Option(help="Runs at once, which share the cores.")] = 1,
    quiet: Quiet = False,
) -> None:
    """Run several methods and seeds on one scenario and write one report."""
    from continual.reports import write_report
    from continual.reports.terminal import print_comparison, print_matrix
    from continual.runs.progress import reporter
    from continual.runs.settings import parse_assignments
    from continual.scenario import load_scenario
    from continual.studies import Grid, run_study

    grid = Grid.parse(methods, seeds)
    records = run_study(
        load_scenario(scenario, order=_order(order)),
        grid,
        out=out,
        backbone=backbone,
        settings=parse_assignments(sets or []),
        engine=engine,
        jobs=jobs,
        reporter=reporter(quiet),
    )
    for record in records:
        print_matrix(record)
    print_comparison(records)
    page, _ = write_report([record.path for record in records], out / "report.html")
    typer.echo(f"report: {page.resolve()}")


@app.command(epilog="Example: continual report runs/study/* --out forgetting.html")
def report(
    directories: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run directories.")],
    out: Annotated[Path, typer.Option("--out", help="The page to write.")] = Path("report.html"),
) -> None:
    """Write an HTML page and a Markdown file about finished or unfinished runs."""
    from continual.reports import write_report

    page, text = write_report(directories, out)
    typer.echo(f"report: {page.resolve()}\nmarkdown: {text.resolve()}")


@app.command(epilog="Example: continual scores runs/mine --json")
def scores(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A run directory.")],
    as_json: AsJson = False,
) -> None:
    """Print the retained accuracy matrix of a run and every score, by definition."""
    from continual.listing import scores_of
    from continual.records import RunRecord
    from continual.reports.terminal import print_matrix

    record = RunRecord.open(directory)
    if as_json:
        _print_json(scores_of(record))
    else:
        print_matrix(record)


@app.command("list", epilog="Example: continual list methods --backbone tiny-lm --json")
def list_things(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    backbone: Annotated[
        str | None, typer.Option(help="Count the trained numbers of methods on this one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the scenarios, methods, metrics or backbones that have a name."""
    from continual.listing import SHOWN, listing

    rows = listing(kind.value, backbone)
    if as_json:
        _print_json(rows)
    else:
        from continual.reports.terminal import print_rows

        print_rows([{key: row[key] for key in SHOWN[kind.value]} for row in rows])


@app.command(epilog="Example: continual validate my-sequence.yaml")
def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A scenario file.")],
) -> None:
    """Check a scenario file and report every problem at once."""
    from continual.listing import file_problems

    problems = file_problems(file)
    if problems:
        raise InputError(f"{file} has {len(problems)} problem(s):\n" + "\n".join(problems))
    typer.echo(f"{file}: valid.")


@app.command(epilog="Example: continual schema > scenario.schema.json")
def schema() -> None:
    """Print the JSON schema of scenario files; editors complete and check with it."""
    from continual.scenario import scenario_schema

    _print_json(scenario_schema())


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


@app.command(
    epilog="Example: continual decompose tiny-lm --kind cur --rank 16 --layers 'self_attn'"
)
def decompose(
    target: Annotated[
        str, typer.Argument(metavar="BACKBONE|FILE", help="A name, hub id, folder or safetensors.")
    ],
    kind: Annotated[Decomposition, typer.Option(help="Columns and rows, or singular vectors.")],
    rank: Annotated[int, typer.Option(help="How many to keep in every layer.")],
    layers: Annotated[str, typer.Option(help="Regular expression for layer names.")] = "",
    policy: Annotated[str, typer.Option(help="How CUR chooses.")] = "sketch_lupp",
    method: Annotated[str, typer.Option(help="SVD: auto, exact, randomized, arpack.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of draws and sketches.", min=0)] = 0,
    workers: Annotated[int | None, typer.Option(help="Layers at once; default: all cores.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="A new .safetensors file for the factors.")
    ] = None,
    use_cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Keep and reuse results on disk.")
    ] = True,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Decompose the layers of a model, and compare each error with the least possible one."""
    from continual.linalg import Cache
    from continual.reports.terminal import print_survey
    from continual.runs.decompose import decompose as decompose_layers
    from continual.runs.progress import reporter

    found = decompose_layers(
        target,
        kind=kind.value,
        rank=rank,
        layers=layers,
        policy=policy,
        method=method,
        seed=seed,
        workers=workers,
        cache=Cache() if use_cache else None,
        out=out,
        reporter=reporter(quiet),
    )
    if as_json:
        _print_json([one.facts() for one in found])
    else:
        print_survey(found)


@app.command(
    epilog="Example: continual count curlora --config tiny-lm --target q_proj,v_proj --set rank=4"
)
def count(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="See `continual list methods`.")],
    config: Annotated[str, typer.Option(help="A model: name, directory with config.json, hub id.")],
    target: Annotated[
        str, typer.Option(help="Layer names separated by commas; default: by architecture.")
    ] = "",
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE of the method, as rank=16.")
    ] = None,
    task: Annotated[int, typer.Option(help="Which task of the sequence, from 0.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Count the numbers that a method trains on a model; no weights are loaded."""
    from continual.listing import count_of

    targets = [name.strip() for name in target.split(",") if name.strip()]
    found = count_of(method, config, targets, sets or [], task)
    if as_json:
        _print_json(found)
    else:
        typer.echo(
            f"{found['method']} trains {found['trained']:,} numbers in {found['layers']} layers "
            f"of {config}, {100 * found['share']:.4f} % of its {found['model']:,}."
        )


def _order(order: str | None) -> str | int | None:
    return int(order) if order is not None and order.isdecimal() else order


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, allow_nan=False))


def main() -> None:
    """Run the command; turn what we raise on purpose into a message and an exit code."""
    try:
        app()
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped; run the same command again to continue.", err=True)
        sys.exit(1)
    except (RuntimeError, OSError) as error:
        typer.echo(f"failed: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
