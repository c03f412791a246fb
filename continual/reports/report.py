"""Run directories in, a page and a Markdown file out."""

from collections.abc import Sequence
from pathlib import Path

from continual.errors import InputError
from continual.records import RunRecord, write_atomic
from continual.reports.content import Report, assemble
from continual.reports.data import render_json, render_latex, to_csv
from continual.reports.html import render_html
from continual.reports.markdown import render_markdown


def write_report(
    dirs: Sequence[Path], out: Path, *, baseline: str | None = None
) -> tuple[Path, Path]:
    """Write a report over runs: a self-contained page, and the same in Markdown beside it.

    Runs on different scenarios, backbones or task orders get a section each. Runs that differ in
    their seed only are averaged. Figures go to a folder ``<stem>-figures`` as PNG (which the
    Markdown shows), SVG and PDF, with their numbers as CSV; tables to ``<stem>.tex``, all numbers
    to ``<stem>.json``.

    Args:
        dirs: run directories, finished or not.
        out: the page, ending in ``.html``; its folder is made where it is missing.
        baseline: the method that the others are compared with; by default ``lora``.

    Returns:
        The paths of the page and of the Markdown file.

    Raises:
        InputError: no directory is given, some are not runs (all of them are named), or ``out``
            does not end in ``.html``. Nothing was written.
        DamagedFileError: a file of a run cannot be read back. Nothing was written.
        OSError: the report cannot be written; older files of that name stay as they are.
    """
    out = Path(out)
    if out.suffix != ".html":
        raise InputError(
            f"a report's path must end in .html; got {out}. Try {out.with_suffix('.html')}."
        )
    report = assemble(open_runs(dirs), baseline)
    page = render_html(report)
    folder = out.with_name(f"{out.stem}-figures")
    text = render_markdown(report, folder.name)
    out.parent.mkdir(parents=True, exist_ok=True)
    _write_figures(report, folder)
    beside = out.with_suffix(".md")
    write_atomic(beside, text.encode())
    write_atomic(out.with_suffix(".tex"), render_latex(report).encode())
    write_atomic(out.with_suffix(".json"), render_json(report).encode())
    write_atomic(out, page.encode())
    return out, beside


def open_runs(dirs: Sequence[Path]) -> tuple[RunRecord, ...]:
    """Read run directories, or say of all that are none at once why they are none.

    Raises:
        InputError: no directory is given, or some are not runs.
        DamagedFileError: a file of a run cannot be read back.
    """
    if not dirs:
        raise InputError("there is no run to report on; give one or more run directories.")
    records, problems = [], []
    for directory in dirs:
        try:
            records.append(RunRecord.open(directory))
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError(
            f"{len(problems)} of {len(dirs)} directories are not runs:\n  " + "\n  ".join(problems)
        )
    return tuple(records)


def _write_figures(report: Report, folder: Path) -> None:
    from continual.reports.figures import render

    folder.mkdir(exist_ok=True)
    for section in report.sections:
        for picture in (*section.curves, *section.matrices):
            write_atomic(folder / f"{picture.stem}.svg", picture.svg)
            for form in ("png", "pdf"):
                write_atomic(folder / f"{picture.stem}.{form}", render(picture.figure, form))
            write_atomic(folder / f"{picture.stem}.csv", to_csv(picture.table).encode())
