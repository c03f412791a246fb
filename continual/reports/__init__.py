"""Run directories in; tables, figures, a page and Markdown out. Heavy libraries load when used."""

from continual.reports.report import open_runs, write_report
from continual.reports.tables import CONTROLS, Table, matrix_table, scores_table
from continual.reports.terminal import print_comparison, print_matrix

__all__ = [
    "CONTROLS",
    "Table",
    "matrix_table",
    "open_runs",
    "print_comparison",
    "print_matrix",
    "scores_table",
    "write_report",
]
