"""A report as one page that needs nothing beside it."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from continual.reports.content import Picture, Report
from continual.reports.data import to_csv
from continual.reports.passages import heat
from continual.reports.tables import Table

TEMPLATES = Path(__file__).parent / "templates"


def render_html(report: Report) -> str:
    """Return the page: styles and figures within it, every word of a run escaped.

    Raises:
        jinja2.UndefinedError: the template names what a report does not have.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        report=report, uri=_uri, csv_uri=_csv_uri, method_of=_method_of, heat=heat
    )


def _csv_uri(table: Table) -> str:
    """Return a table as a file to download; a cell's second line follows a space."""
    return f"data:text/csv;charset=utf-8;base64,{b64encode(to_csv(table).encode()).decode()}"


def _method_of(cell: str, methods: Sequence[str]) -> str:
    """Return the method that a row is about, "" if it is about none."""
    label = cell.removesuffix(" (control)")
    return label if label in methods else ""


def _uri(picture: Picture) -> str:
    return f"data:image/svg+xml;base64,{b64encode(picture.svg).decode()}"
