"""The command. It parses, calls and prints; everything it does is in the library.

Exit codes: 0 done, 2 bad input (nothing was written), 1 failed, 130 stopped by Ctrl-C, 143 stopped
by SIGTERM.
"""

import shlex
import signal
import sys

import typer

from continual.cli import (  # noqa: F401  (they add their verbs)
    data,
    directories,
    results,
    running,
    searching,
    things,
)
from continual.cli.options import app
from continual.errors import InputError, OtherProcessError, StoppedError, with_notes


def main() -> None:
    """Run the command; turn what we raise on purpose into a message and an exit code."""
    try:
        app()
    except InputError as error:
        _fail("error", error, 2)
    except StoppedError as stop:
        if not stop.silent:
            command = shlex.join(["continual", *sys.argv[1:]])
            typer.echo(f"{stop}\nTo go on: {command}", err=True)
        sys.exit(stop.status)
    except SystemExit as end:
        if end.code == 128 + signal.SIGINT:  # typer's answer to a KeyboardInterrupt
            typer.echo("stopped; a run or a study continues with the same command.", err=True)
        raise
    except OtherProcessError:  # which has said why
        sys.exit(1)
    except (RuntimeError, OSError, MemoryError) as error:
        _fail("failed", error, 1)


def _fail(how: str, error: Exception, status: int) -> None:
    """Print an error with its notes, which say where a run stands, and exit."""
    typer.echo(f"{how}: {with_notes(error)}", err=True)
    sys.exit(status)
