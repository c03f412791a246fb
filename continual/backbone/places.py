"""Where a backbone's files are: in this package, in a directory, or on the hub."""

from pathlib import Path

from continual.backbone.refusals import check_path
from continual.errors import InputError, nearest
from continual.hub import Repo, is_offline, model_folder

EMBEDDED: dict[str, Path] = {
    path.parent.name: path.parent
    for path in sorted((Path(__file__).parent / "embedded").glob("*/config.json"))
}


def find(
    name: str, revision: str | None, trust_remote_code: bool, *, weights: bool = True
) -> tuple[str, str | None]:
    """Return the directory that holds a model, downloaded where need be, and its commit.

    Args:
        name: an embedded backbone, a local directory or a hub id, looked up in that order.
        revision: of a hub id.
        trust_remote_code: download the Python code that comes with a model, too.
        weights: whether more than the configuration is needed.

    Returns:
        The directory, and the commit on the hub or None where it is not from there.

    Raises:
        InputError: there is no such model, or it cannot be had.
    """
    known = tuple(EMBEDDED)
    place = Path(EMBEDDED.get(name, name)).expanduser()
    check_path(name, str(place), known)
    if not place.is_dir():
        repo = Repo(
            id=name,
            kind="model",
            what=f"backbone {name!r}",
            otherwise=f"give a local directory or one of the embedded {list(known)}"
            f"{nearest(name, known).removesuffix('?')}",
            revision=revision,
            offline=is_offline(),
        )
        folder = model_folder(repo, weights=weights, code=trust_remote_code)
        return str(folder), folder.name
    if revision is not None:
        raise InputError(
            f"backbone {name!r} is a directory here, so backbone.revision={revision!r} means "
            "nothing; it is for models of the hub."
        )
    return str(place), None
