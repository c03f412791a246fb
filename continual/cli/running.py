"""``continual run`` and ``study``: what trains."""

from typing import Annotated

import typer

from continual.cli.options import BackboneName, Order, Out, Quiet, Seed, Sets, app, named_order


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
        load_scenario(scenario, order=named_order(order)),
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
    "--seeds 0,1,2 --out runs/study. PEFT's own tuners beside it: --methods lora,peft:dora,peft:osf"
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
        load_scenario(scenario, order=named_order(order)),
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
