"""The same tables in the terminal."""

from collections.abc import Mapping, Sequence
from os.path import commonpath
from typing import TYPE_CHECKING

import numpy as np

from continual.linalg import Surveyed
from continual.records import RunRecord
from continual.reports.against import against_tables
from continual.reports.comparison import comparison_tables, estimates
from continual.reports.groups import group_runs
from continual.reports.orders import order_tables
from continual.reports.tables import Table, matrix_table, plain_matrix, plain_scores, scores_table
from continual.reports.verdict import verdicts, warnings

if TYPE_CHECKING:
    import rich.console
    import rich.table


def print_matrix(record: RunRecord, console: "rich.console.Console | None" = None) -> None:
    """Print R of one run and every score that its entries define.

    Args:
        record: the run.
        console: where to print; standard output by default.
    """
    console = console or _console()
    console.print(rich_table(matrix_table(record)))
    console.print(rich_table(scores_table(record)))


def print_foreign(
    tasks: Sequence[str],
    R: np.ndarray,
    b: np.ndarray | None,
    console: "rich.console.Console | None" = None,
) -> None:
    """Print a matrix that came from no run of ours and every score that its entries define.

    Args:
        tasks: their names.
        R: score on task j after experience i.
        b: score on each task before training, where known.
        console: where to print; standard output by default.
    """
    console = console or _console()
    for table in (plain_matrix(R, b, tasks), plain_scores(R, b)):
        console.print(rich_table(table))


def print_comparison(
    records: Sequence[RunRecord],
    console: "rich.console.Console | None" = None,
    *,
    baseline: str | None = None,
) -> None:
    """Print the methods side by side, a sentence on each, and what to be careful about.

    Args:
        records: the runs; those that cannot be compared get a table each.
        console: where to print; standard output by default.
        baseline: the method that the others are compared with; see ``against.baseline_of``.

    Raises:
        InputError: no run has the baseline's name.
    """
    from rich.text import Text

    console = console or _console()
    groups = group_runs(records)
    for group in groups:
        found = estimates(group)
        console.print(Text(f"{group.scenario} on {group.backbone}", style="bold"))
        for table in (*comparison_tables(group, found), *against_tables(group, baseline)):
            for part in _parts(table, console.width):
                console.print(rich_table(part))
        for sentence in verdicts(group, found):
            console.print(Text(sentence))
        for sentence in warnings(group, baseline):
            console.print(Text(f"! {sentence}", style="yellow"))
    for table in order_tables(groups, baseline):
        for part in _parts(table, console.width):
            console.print(rich_table(part))


def print_rows(
    rows: Sequence[Mapping[str, object]], console: "rich.console.Console | None" = None
) -> None:
    """Print named things, one line each.

    Args:
        rows: mappings with the same keys; lists are joined, truths are yes or no.
        console: where to print; standard output by default.
    """
    columns = tuple(rows[0]) if rows else ("name",)
    cells = tuple(tuple(_plain(row[column]) for column in columns) for row in rows)
    titles = tuple(column.replace("_", " ") for column in columns)
    table = Table(caption="", columns=titles, rows=cells, marked=())
    (console or _console()).print(rich_table(table, right=False))


def print_survey(found: Sequence[Surveyed], console: "rich.console.Console | None" = None) -> None:
    """Print one line for every decomposed layer.

    Args:
        found: by ``continual.linalg.survey``.
        console: where to print; standard output by default.
    """
    names = [one.layer.removesuffix(".weight") for one in found]
    shared = commonpath([name.replace(".", "/") for name in names]).replace("/", ".")
    shared = shared if len(names) > 1 else ""
    rows = tuple(
        (
            name.removeprefix(f"{shared}."),
            f"{one.shape[0]} × {one.shape[1]}",
            f"{one.stable_rank:.1f}",
            f"{one.error_fro / (one.norm_fro or 1.0):.4f}",
            f"{one.optimal_error_fro / (one.norm_fro or 1.0):.4f}",
            f"{one.error_fro / one.optimal_error_fro:.3f}" if one.optimal_error_fro else "–",
            f"{1000 * one.seconds:.1f}",
        )
        for name, one in zip(names, found, strict=True)
    )
    columns = ("layer", "shape", "stable\nrank", "error", "least", "ratio", "ms")
    caption = f"rank {found[0].rank}, {found[0].method}" if found else ""
    caption += f", layers of {shared}" if shared else ""
    table = Table(
        caption=f"{caption}; errors are relative to ‖A‖ in Frobenius norm",
        columns=columns,
        rows=rows,
        marked=(),
    )
    (console or _console()).print(rich_table(table))


def rich_table(table: Table, right: bool = True) -> "rich.table.Table":
    """Return a table that a terminal can draw; cells are text, never markup.

    Args:
        table: the table.
        right: whether all columns but the first hold numbers, which stand to the right.
    """
    from rich.table import Table as RichTable
    from rich.text import Text

    title = Text(table.caption) if table.caption else None
    drawn = RichTable(title=title, title_justify="left", header_style="bold")
    for number, column in enumerate(table.columns):
        drawn.add_column(
            Text(column), justify="right" if number and right else "left", overflow="fold"
        )
    for number, row in enumerate(table.rows):
        style = "dim" if number in table.marked else None
        drawn.add_row(*(Text(cell) for cell in row), style=style)
    return drawn


def _parts(table: Table, width: int) -> list[Table]:
    """Cut a wide table into tables of some columns each; the first column leads every one."""
    lines = [table.columns, *table.rows]
    needed = [
        max(len(part) for line in lines for part in line[j].split("\n")) + 3  # a bar, two spaces
        for j in range(len(table.columns))
    ]
    parts: list[list[int]] = [[]]
    for j in range(1, len(table.columns)):
        if parts[-1] and 1 + needed[0] + sum(needed[k] for k in [*parts[-1], j]) > width:
            parts.append([])
        parts[-1].append(j)
    return [
        Table(
            caption="" if number else table.caption,
            columns=tuple(table.columns[j] for j in (0, *part)),
            rows=tuple(tuple(row[j] for j in (0, *part)) for row in table.rows),
            marked=table.marked,
        )
        for number, part in enumerate(parts)
    ]


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _console() -> "rich.console.Console":
    from rich.console import Console

    return Console()
