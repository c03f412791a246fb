"""``continual list``, ``validate``, ``schema``, ``count`` and ``decompose``: what there is."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from continual.cli.options import AsJson, Quiet, app, print_json
from continual.errors import InputError


class Kind(StrEnum):
    """What ``continual list`` can list."""

    scenarios = "scenarios"
    methods = "methods"
    metrics = "metrics"
    backbones = "backbones"
    peft = "peft"


class Decomposition(StrEnum):
    """What ``continual decompose`` can do to a matrix."""

    cur = "cur"
    svd = "svd"


@app.command("list", epilog="Example: continual list methods --backbone tiny-lm --json")
def list_things(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    backbone: Annotated[
        str | None, typer.Option(help="Count the trained numbers of methods on this one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the scenarios, methods, metrics or backbones that have a name, or PEFT's tuners."""
    from continual.listing import NOTES, SHOWN, listing

    rows = listing(kind.value, backbone)
    if as_json:
        print_json(rows)
    else:
        from continual.reports.terminal import print_rows

        print_rows([{key: row[key] for key in SHOWN[kind.value]} for row in rows])
        if kind.value in NOTES:
            typer.echo(NOTES[kind.value])


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

    print_json(scenario_schema())


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
        print_json([one.facts() for one in found])
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
        print_json(found)
    else:
        typer.echo(
            f"{found['method']} trains {found['trained']:,} numbers in {found['layers']} layers "
            f"of {config}, {100 * found['share']:.4f} % of its {found['model']:,}."
        )
