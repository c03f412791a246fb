"""A report as data: CSV of a table, JSON and LaTeX of the whole."""

import csv
import json
import math
from io import StringIO
from typing import Any

from continual.metrics import scores
from continual.records import RunRecord
from continual.reports.content import Report, Section
from continual.reports.costs import costs
from continual.reports.tables import Table

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "×": r"$\times$",
    "–": "--",
    "→": r"$\to$",
    "≥": r"$\ge$",
    "²": "$^2$",
}


def to_csv(table: Table) -> str:
    r"""Return a table as CSV with a header; lines of a cell are joined by a space.

    A cell that a spreadsheet would take for a formula gets an apostrophe in front.

    >>> to_csv(Table(caption="", columns=("a", "b"), rows=(("=1+1", "+0.1"),)))
    "a,b\r\n'=1+1,+0.1\r\n"
    """
    sink = StringIO()
    writer = csv.writer(sink)
    for line in (table.columns, *table.rows):
        writer.writerow([_harmless(" ".join(cell.split("\n"))) for cell in line])
    return sink.getvalue()


def render_json(report: Report) -> str:
    """Return what the page says, with every run's matrix, scores and probes as numbers."""
    found = {
        "title": report.title,
        "sections": [_section(section) for section in report.sections],
        "orders": [_table(table) for table in report.orders],
        "definitions": _table(report.definitions),
    }
    return json.dumps(found, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def render_latex(report: Report) -> str:
    """Return the comparison tables for a paper; they need the package booktabs."""
    blocks = ["% needs \\usepackage{booktabs}"]
    tables = [table for section in report.sections for table in section.comparison]
    blocks += [_tabular(table) for table in (*tables, *report.orders)]
    return "\n\n".join(blocks) + "\n"


def latex(text: str) -> str:
    r"""Return text that LaTeX prints as it is.

    >>> latex("a_b & 5 %")
    'a\\_b \\& 5 \\%'
    """
    return "".join(LATEX.get(letter, letter) for letter in text)


def _tabular(table: Table) -> str:
    lines = [
        r"\begin{table}",
        rf"\caption{{{latex(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        _line(table.columns),
        r"\midrule",
        *(_line(row) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def _line(cells: tuple[str, ...]) -> str:
    stacked = (
        rf"\shortstack{{{' {newline} '.join(map(latex, cell.split(chr(10))))}}}"
        if "\n" in cell
        else latex(cell)
        for cell in cells
    )
    return " & ".join(cell.replace("{newline}", r"\\") for cell in stacked) + r" \\"


def _section(section: Section) -> dict[str, Any]:
    return {
        "title": section.title,
        "lead": section.lead,
        "verdicts": list(section.verdicts),
        "warnings": list(section.warnings),
        "comparison": [_table(table) for table in section.comparison],
        "harm": [_table(table) for table in section.harm],
        "unmeasured": list(section.unmeasured),
        "runs": [_run(record) for record in section.runs],
    }


def _run(record: RunRecord) -> dict[str, Any]:
    R, b = record.matrix(), record.baseline()
    return {
        "path": str(record.path),
        "method": record.method,
        "seed": record.seed,
        "complete": record.complete,
        "tasks": list(record.tasks),
        "matrix": [[_finite(cell) for cell in row] for row in R.tolist()],
        "baseline": [_finite(cell) for cell in b.tolist()],
        "scores": scores(R, b),
        "costs": costs(record),
        "probes": {n: [_finite(v) for v in values] for n, values in record.probes().items()},
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "caption": table.caption,
        "columns": list(table.columns),
        "rows": [list(row) for row in table.rows],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _harmless(cell: str) -> str:
    number = cell.lstrip("+-−").replace(".", "").replace(",", "")
    risky = cell[:1] in ("=", "+", "-", "@", "\t", "\r") and not number[:1].isdigit()
    return f"'{cell}" if risky else cell
