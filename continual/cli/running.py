"""``continual run`` and ``study``: what trains."""

from typing import Annotated

import typer

from continual.cli.options import (
    Address,
    BackboneName,
    Cpus,
    Data,
    Executor,
    Gpus,
    Jobs,
    Memory,
    Order,
    Out,
    Quiet,
    Seed,
    Sets,
    SettingsFile,
    app,
    named_order,
)


@app.command(
    epilog="Example: continual run pydocs --method curlora --set train.epochs=2 --out runs/mine"
)
def run(
    scenario: Annotated[str, typer.Argument(help="A name of the catalogue, or a YAML file.")],
    method: Annotated[
        str, typer.Option(help="See `continual list methods`; peft:lora, ... are PEFT's own.")
    ],
    out: Out,
    backbone: BackboneName = None,
    seed: Seed = 0,
    order: Order = None,
    data: Data = None,
    settings_file: SettingsFile = None,
    sets: Sets = None,
    quiet: Quiet = False,
) -> None:
    """Train one method on a sequence of tasks; the same command again continues it."""
    from continual.processes import together
    from continual.reports.terminal import print_matrix
    from continual.runs.assemble import run as run_once
    from continual.runs.progress import reporter
    from continual.runs.settings import given_settings
    from continual.scenario import load_scenario

    with together() as processes:
        record = run_once(
            load_scenario(scenario, order=named_order(order), data=data),
            method,
            out=out,
            backbone=backbone,
            seed=seed,
            settings=given_settings(settings_file, sets or []),
            reporter=reporter(quiet or not processes.first),
        )
    if processes.first:
        print_matrix(record)


@app.command(
    epilog="Example: continual study pydocs --methods frozen,lora,curlora,lora:train.lr=0.03 "
    "--seeds 0,1,2 --out runs/study. PEFT's own tuners beside it: --methods lora,peft:dora. "
    "A study kept in a file: continual study mine.yaml --out runs/mine"
)
def study(
    scenario: Annotated[
        str, typer.Argument(help="A name of the catalogue, its YAML file, or that of a study.")
    ],
    out: Out,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names separated by commas; lora:train.lr=0.03 has a setting of its own."
        ),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Numbers separated by commas; 0.")] = None,
    backbone: BackboneName = None,
    order: Order = None,
    data: Data = None,
    settings_file: SettingsFile = None,
    sets: Sets = None,
    executor: Executor = None,
    address: Address = None,
    cpus: Cpus = None,
    memory: Memory = None,
    gpus: Gpus = None,
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Run methods × seeds on one scenario, or what a study file says, and write one report."""
    from continual.processes import refuse_launched
    from continual.reports import write_report
    from continual.reports.terminal import print_comparison, print_matrix
    from continual.runs.settings import given_settings
    from continual.studies import ask, run_asked
    from continual.studies.table import study_reporter

    refuse_launched("a study")
    asked = ask(
        scenario,
        methods=methods,
        seeds=seeds,
        order=named_order(order),
        data=data,
        backbone=backbone,
        settings=given_settings(settings_file, sets or []),
        where={
            "executor": executor,
            "address": address,
            "jobs": jobs,
            "cpus": cpus,
            "memory": memory,
            "gpus": gpus,
        },
    )
    records = run_asked(asked, out=out, reporter=study_reporter(quiet))
    for record in records:
        print_matrix(record)
    print_comparison(records)
    page, _ = write_report([record.path for record in records], out / "report.html")
    typer.echo(f"report: {page.resolve()}")
