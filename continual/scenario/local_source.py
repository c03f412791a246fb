"""Data that only its owner can hand out: what to do where it was not given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from continual.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LocalSource:
    """One split that has to be given with --data, because no hub data set holds it.

    `local` is its place there without a suffix, `<task>/train` or `<task>/test`; `origin` says
    where the data is from and how its rows are made. Neither decides what is read.
    """

    local: str
    origin: str

    def describe(self) -> str:
        """Return the source as a reader of an error message would write it."""
        return f"DIR/{self.local}.EXT of --data DIR"

    def state(self) -> str:
        """Return "": there is nothing to read."""
        return ""

    def refuse(self) -> NoReturn:
        """Raise the error that says what is missing.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"{self.local} is not on the hub: give its folder with --data DIR, which holds "
            f"DIR/{self.local}.EXT (csv, tsv, json, jsonl or parquet). "
            f"{' '.join(self.origin.split())} `continual data NAME` prints the layout of the whole "
            "folder and `continual data NAME --check DIR` looks at one."
        )
