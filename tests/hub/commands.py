"""Runs several `continual` commands in one process, whose imports cost seconds.

``python -m tests.hub.commands`` reads a JSON list of argument lists, HF_TOKEN=... in front of some,
and answers with a JSON list of [exit code, output, error stream].
"""

import contextlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.hub.server import Hub

ROOT = Path(__file__).parent.parent.parent


def run_commands(
    hub: Hub, home: Path, commands: list[list[str]], *inside: str, **environment: str
) -> list[tuple[int, str, str]]:
    """Run commands against the stand-in, with an own cache and working directory.

    Args:
        hub: the stand-in.
        home: the working directory, with the cache in it.
        commands: arguments of `continual`, HF_TOKEN=... in front of some.
        inside: a command that runs another one, such as unshare.
        environment: further variables.
    """
    done = subprocess.run(
        [*inside, sys.executable, "-m", "tests.hub.commands"],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        env=environment_of(hub, home) | environment,
    )
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout.splitlines()[-1])]


def environment_of(hub: Hub, home: Path) -> dict[str, str]:
    """The environment of a process that sees only the stand-in and its own cache."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
    return known | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home / "hf"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "PYTHONPATH": str(ROOT),
        "NO_PROXY": "127.0.0.1",
        "TERM": "dumb",
    }


def _run(arguments: list[str]) -> tuple[int, str, str]:
    from continual.cli import main

    out, err = io.StringIO(), io.StringIO()
    given = dict(word.split("=", 1) for word in arguments if word.startswith("HF_TOKEN="))
    sys.argv = ["continual", *arguments[len(given) :]]
    os.environ.pop("HF_TOKEN", None)
    os.environ.update(given)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
    return code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    print(json.dumps([_run(arguments) for arguments in json.loads(sys.stdin.read())]))
