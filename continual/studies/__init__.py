"""Studies: grids of runs on this machine or on Ray, and the search for settings."""

from continual.studies.asked import run_asked
from continual.studies.choose import (
    LADDER,
    choose_rates,
    lowest_within,
    next_rates,
    open_side,
)
from continual.studies.file import StudyFile, ask, read_study
from continual.studies.grid import Grid
from continual.studies.proposals import Question
from continual.studies.searching import Found, search, trial_rows
from continual.studies.study import StudyError, run_study
from continual.studies.where import Share, Where

__all__ = [
    "LADDER",
    "Found",
    "Grid",
    "Question",
    "Share",
    "StudyError",
    "StudyFile",
    "Where",
    "ask",
    "choose_rates",
    "lowest_within",
    "next_rates",
    "open_side",
    "read_study",
    "run_asked",
    "run_study",
    "search",
    "trial_rows",
]
