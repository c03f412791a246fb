"""A report as one page that needs nothing beside it."""

from base64 import b64encode
from pathlib import Path

from continual.reports.content import Picture, Report

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
    return environment.get_template("report.html.j2").render(report=report, uri=_uri)


def _uri(picture: Picture) -> str:
    from continual.reports.figures import render

    return f"data:image/svg+xml;base64,{b64encode(render(picture.draw(), 'svg')).decode()}"
