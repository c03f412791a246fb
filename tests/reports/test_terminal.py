"""Tables that fit where they are printed."""

import pytest
from rich.console import Console

from continual.records import RunRecord
from continual.reports import print_comparison
from continual.reports.terminal import print_rows


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_wide_comparison_is_cut_into_tables_and_no_word_is_broken(make_run, width):
    """Every id stands on one line, every table begins with the methods, no line is too long."""
    console = Console(width=width, record=True, force_terminal=False)
    print_comparison([RunRecord.open(make_run(m)) for m in ("curlora", "frozen")], console)
    lines = console.export_text().splitlines()

    for id in ("forgetting.chaudhry2018", "drift.perplexity_ratio", "average_accuracy"):
        assert any(id in line for line in lines)
    assert sum("┏" in line for line in lines) == sum("│ curlora " in line for line in lines)
    assert max(map(len, lines)) <= width


def test_brackets_in_names_are_no_markup(make_run):
    """A task or value in brackets shows as it is written."""
    console = Console(width=80, record=True, force_terminal=False)
    print_rows([{"name": "[red]x[/red]", "trained_numbers": None}], console)
    text = console.export_text()

    assert "[red]x[/red]" in text
    assert "trained numbers" in text


def test_a_list_of_nothing_is_an_empty_table():
    """Not an error."""
    console = Console(width=80, record=True, force_terminal=False)
    print_rows([], console)

    assert "name" in console.export_text()
