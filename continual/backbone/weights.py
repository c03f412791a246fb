"""Where the weights of a backbone lie on disk, without loading the model."""

from pathlib import Path

from continual.backbone.door import quiet
from continual.backbone.load import EMBEDDED
from continual.backbone.refusals import ask, check_path


def weights_of(name: str) -> Path:
    """Return the file or folder that holds a backbone's safetensors files.

    Args:
        name: an embedded name, a path, or a hub id, whose safetensors files are then downloaded.

    Raises:
        InputError: it is none of these, or cannot be reached.
    """
    path = EMBEDDED.get(name, Path(name).expanduser())
    if path.exists():
        return path
    check_path(name, name, tuple(EMBEDDED))
    with quiet():
        from huggingface_hub import snapshot_download

        found = ask(
            lambda: snapshot_download(
                name, allow_patterns=["*.safetensors"], ignore_patterns=["*/*"]
            ),
            name,
            tuple(EMBEDDED),
        )
    return Path(found)
