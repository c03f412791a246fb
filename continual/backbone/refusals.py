"""What goes wrong while a model is looked up, and what to do about it, in our words."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from continual.errors import InputError, nearest

PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


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


def check_weights(name: str, folder: str) -> None:
    """Raise an InputError where a directory's weights are not safetensors."""
    path = Path(folder)
    if any(path.glob("*.safetensors")):
        return
    others = sorted(file.name for file in path.iterdir() if file.suffix in PICKLED)
    raise InputError(
        f"the directory of backbone {name!r} holds no weights as safetensors"
        f"{f', only {others[:4]}' if others else ''}. Pickled weights can run code when they are "
        "read, so they are not: write the model again with save_pretrained of transformers 5."
    )


def ask(read: Callable[[], Any], name: str) -> Any:
    """Call transformers on files that are there, and tell its failures as InputErrors."""
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
                "and if you trust it set backbone.trust_remote_code=true "
                "(in Python: trust_remote_code=True)."
            ) from error
        raise InputError(
            f"transformers cannot load backbone {name!r}: {_first_line(error)}"
        ) from error
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"transformers cannot read the files of backbone {name!r}: {_first_line(error)}"
        ) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
