"""What goes wrong while a model is looked up, and what to do about it, in our words."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from continual.errors import InputError, nearest


def check_path(name: str, source: str, known: Sequence[str]) -> None:
    """Raise an InputError where a path was given and no saved model is there."""
    path = Path(source).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise InputError(
                f"the directory {name!r} holds no config.json, so it is no saved model; give the "
                "directory that save_pretrained wrote."
            )
    elif name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(
            f"no directory {name!r}; give an existing one, a hub id such as 'owner/name', or an "
            f"embedded backbone: {list(known)}{nearest(Path(name).name, known) or '.'}"
        )


def ask(read: Callable[[], Any], name: str, known: Sequence[str]) -> Any:
    """Call transformers and tell its failures as InputErrors."""
    try:
        return read()
    except ImportError as error:
        raise InputError(
            f"backbone {name!r} needs a package that is not installed: {_first_line(error)}"
        ) from error
    except ValueError as error:
        if "trust_remote_code" in str(error):
            raise InputError(
                f"backbone {name!r} comes with its own Python code, which was not run; read it, "
                "and if you trust it pass trust_remote_code=True."
            ) from error
        raise InputError(
            f"transformers cannot load backbone {name!r}: {_first_line(error)}"
        ) from error
    except OSError as error:
        raise _unreachable(name, known, error) from error


def _unreachable(name: str, known: Sequence[str], error: OSError) -> InputError:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    how = (
        "HF_HUB_OFFLINE is set, so only models already in the cache can be read: unset it"
        if offline
        else "it is neither a local directory nor, as far as could be seen, on the hub: check the "
        "spelling, the network and your access"
    )
    return InputError(
        f"cannot load backbone {name!r}: {how}, or give a local directory or one of the embedded "
        f"backbones {list(known)}{nearest(name, known) or '.'} "
        f"(transformers said: {_first_line(error)})"
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
