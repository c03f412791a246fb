"""``continual search``: settings that a learner in a sequence may choose."""

from typing import Annotated

import typer

from continual.cli.options import (
    AsJson,
    BackboneName,
    Data,
    Jobs,
    Order,
    Out,
    Quiet,
    Seed,
    Sets,
    SettingsFile,
    app,
    named_order,
    print_json,
)


@app.command(
    epilog="Example: continual search pydocs --method lora --space train.lr=1e-4..1e-1:log "
    "--space method.rank=4,8,16 --trials 20 --out runs/search. Then: continual run pydocs "
    "--method lora --settings runs/search/chosen.yaml --out runs/mine"
)
def search(
    scenario: Annotated[str, typer.Argument(help="A name of the catalogue, or a YAML file.")],
    method: Annotated[str, typer.Option(help="Whose settings; see `continual list methods`.")],
    space: Annotated[
        list[str],
        typer.Option(help="NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A,B,C; repeatable."),
    ],
    out: Out,
    trials: Annotated[int, typer.Option(help="Settings to try, in all.")] = 20,
    tasks: Annotated[int, typer.Option(help="The first tasks, which have been seen.")] = 1,
    objective: Annotated[
        str, typer.Option(help="Mean validation nats (per token) or score of those tasks.")
    ] = "nats",
    backbone: BackboneName = None,
    seed: Seed = 0,
    order: Order = None,
    data: Data = None,
    settings_file: SettingsFile = None,
    sets: Sets = None,
    jobs: Jobs = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Choose settings by the validation splits of the first tasks; test splits are not read.

    Trials run here, --jobs of them at once; the same command goes on with an interrupted search.
    """
    from continual.processes import refuse_launched
    from continual.reports.terminal import print_rows
    from continual.runs.settings import given_settings
    from continual.scenario import load_scenario
    from continual.studies import Question, search, trial_rows
    from continual.studies.judging import checked
    from continual.studies.space import parse_space
    from continual.studies.table import study_reporter

    refuse_launched("a search")
    question = Question(
        method=method,
        space=parse_space(space),
        tasks=tasks,
        objective=checked(objective),
        seed=seed,
        backbone=backbone,
        settings=given_settings(settings_file, sets or []),
    )
    found = search(
        load_scenario(scenario, order=named_order(order), data=data),
        question,
        trials=trials,
        out=out,
        jobs=jobs or 1,
        reporter=study_reporter(quiet),
    )
    rows = trial_rows(found)
    if as_json:
        print_json({"trials": rows, "chosen": dict(found.best.settings), "file": str(found.file)})
        return
    print_rows(rows)
    typer.echo(f"chosen: {found.options()}\nthe same: --settings {found.file}")
