"""A report as GitHub Markdown, with its figures in a folder beside it."""

import re
from urllib.parse import quote

from continual.reports.content import Picture, Report, Section
from continual.reports.tables import Table


def render_markdown(report: Report, figures: str) -> str:
    """Return the report as Markdown.

    Args:
        report: what it says.
        figures: the folder of its figures, relative to the Markdown file.
    """
    blocks = [f"# {escape(report.title)}"]
    for section in report.sections:
        blocks += _section(section, figures)
    if report.orders:
        blocks.append("## Over orders of tasks")
    for found in report.orders:
        blocks += [f"{escape(found.caption)}.", table(found)]
    blocks += ["## Definitions", table(report.definitions)]
    return "\n\n".join(blocks) + "\n"


def table(found: Table) -> str:
    r"""Return a table in GitHub's form; a cell's second line follows a line break.

    >>> print(table(Table(caption="", columns=("a", "b"), rows=(("x|y", "1"),))))
    | a | b |
    |---|---|
    | x\|y | 1 |
    """
    lines = [found.columns, *found.rows]
    text = ["| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(found.columns), *text[1:]])


def escape(text: str) -> str:
    r"""Return text that Markdown shows as it is, on one line.

    >>> escape("<b> *x* __init__ a_b")
    '&lt;b&gt; \\*x\\* \\_\\_init\\_\\_ a_b'
    """
    text = " ".join(text.split())
    text = re.sub(r"([\\`*\[\]|~#$])", r"\\\1", text)
    text = re.sub(r"(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])", r"\\_", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _section(section: Section, figures: str) -> list[str]:
    blocks = [f"## {escape(section.title)}", escape(section.lead)]
    blocks.append("\n".join(f"- {escape(sentence)}" for sentence in section.verdicts))
    if section.warnings:
        careful = "\n".join(f"> - {escape(sentence)}" for sentence in section.warnings)
        blocks.append(f"> **Read with care**\n>\n{careful}")
    blocks.append("### Comparison")
    for found in section.comparison:
        blocks += [f"{escape(found.caption)}.", table(found)]
    blocks.append("### Over the run")
    blocks += [_picture(picture, figures) for picture in section.curves]
    blocks.append("### Retained accuracy")
    for picture in section.matrices:
        blocks.append(_picture(picture, figures))
        blocks.append(table(picture.table))
    if section.harm:
        blocks.append("### Which experience hurt which task")
    for found in section.harm:
        blocks += [f"{escape(found.caption)}.", table(found)]
    blocks += _lost(section)
    if section.diagnostics:
        blocks.append("### What happened to the weights")
    for found in section.diagnostics:
        blocks += [f"{escape(found.caption)}.", table(found)]
    blocks.append("### What was not measured")
    blocks.append("\n".join(f"- {escape(sentence)}" for sentence in section.unmeasured))
    blocks.append("### How it was run")
    for found in section.facts:
        if found.rows:
            blocks += [f"#### {escape(found.caption)}", table(found)]
    return blocks


def _lost(section: Section) -> list[str]:
    """Return the lost examples and the passages that became hardest."""
    blocks = ["### Examples that were lost"]
    if not section.lost:
        blocks.append("No run recorded its examples after learning a task and at the end.")
    for title, tables in section.lost:
        blocks.append(f"#### {escape(title)}")
        for found in tables:
            blocks.append(f"{escape(found.caption)}.")
            blocks += [table(found)] if found.rows else []
    if section.passages:
        blocks.append("### Passages that became hardest")
    for title, passages in section.passages:
        blocks.append(f"#### {escape(title)}")
        for one in passages:
            text = "".join(piece for piece, _ in one.tokens)
            said = f"{one.before:.2f} → {one.after:.2f} nats per token"
            blocks.append(f"{escape(one.probe)}, document {one.document + 1}, {said}:")
            blocks.append(f"> {escape(text)}")
    return blocks


def _picture(picture: Picture, figures: str) -> str:
    return f"![{escape(picture.words)}]({quote(figures)}/{quote(picture.stem)}.png)"


def _cell(text: str) -> str:
    return "<br>".join(escape(line) for line in text.split("\n")) or " "
