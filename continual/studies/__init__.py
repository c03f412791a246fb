"""Studies: grids of runs on this machine or on Ray."""

from continual.studies.grid import Grid, run_study

__all__ = ["Grid", "run_study"]
