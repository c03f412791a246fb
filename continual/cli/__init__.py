"""The command. It parses, calls and prints; everything it does is in the library.

Exit codes: 0 done, 2 bad input (nothing was written), 1 failed.
"""

import sys

import typer

from continual.cli import results, running, things  # noqa: F401  (they add their verbs)
from continual.cli.options import app
from continual.errors import InputError


def main() -> None:
    """Run the command; turn what we raise on purpose into a message and an exit code."""
    try:
        app()
    except InputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped; run the same command again to continue.", err=True)
        sys.exit(1)
    except (RuntimeError, OSError) as error:
        typer.echo(f"failed: {error}", err=True)
        sys.exit(1)
