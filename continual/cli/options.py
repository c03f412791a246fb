"""The command's application and the options that several verbs share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

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
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="YAML with settings by section; --set stands above it."),
]
Order = Annotated[
    str | None, typer.Option(help="A named order of the scenario, or a number to shuffle by.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder with the data of every task; see `continual data SCENARIO`."
    ),
]
BackboneName = Annotated[
    str | None, typer.Option(help="Embedded name, hub id or path; default: the scenario's.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only results and errors.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Executor = Annotated[
    str | None, typer.Option(help="local (default), or ray (needs the extra `ray`).")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="HOST:PORT of a Ray cluster, or auto; default: RAY_ADDRESS, or one of our own."
    ),
]
Cpus = Annotated[int | None, typer.Option(help="Ray: cores, and threads, of every run; 1.")]
Memory = Annotated[
    str | None, typer.Option(help="Ray: memory of every run, as 4GiB; default: as runs show.")
]
Gpus = Annotated[float | None, typer.Option(help="Ray: GPUs of every run, or a share; 0.")]
Jobs = Annotated[int | None, typer.Option(help="Runs at once, which share the cores; 1.")]


def named_order(order: str | None) -> str | int | None:
    """Return a name of the scenario's orders, or the number to shuffle by."""
    return int(order) if order is not None and order.isdecimal() else order


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    typer.echo(json.dumps(value, indent=1, allow_nan=False))
