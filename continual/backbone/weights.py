"""Where the weights of a backbone lie on disk, without loading the model."""

from pathlib import Path

from continual.backbone.places import EMBEDDED, find


def weights_of(name: str) -> Path:
    """Return the file or folder that holds a backbone's safetensors files.

    Args:
        name: an embedded name, a path, or a hub id, whose files are then downloaded.

    Raises:
        InputError: it is none of these, or cannot be reached.
    """
    path = Path(EMBEDDED.get(name, name)).expanduser()
    if path.exists():
        return path
    source, _ = find(name, None, False)
    return Path(source)
