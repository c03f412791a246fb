"""Why the hub did not give what was asked, and what to do about it, case by case."""

from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from continual.errors import nearest
from continual.hub.repo import Repo, cache_folder, endpoint, transport_error

LISTED = 20  # ids or revisions that are compared with a misspelt one


def full() -> str:
    """There is no room for the cache."""
    return (
        f"the disk is full (the cache is {cache_folder()}); free some space, or let HF_HOME name a "
        "folder on another disk."
    )


def not_writable() -> str:
    """The cache belongs to somebody else."""
    return f"the cache cannot be written ({cache_folder()}); let HF_HOME name a folder that can be."


def no_file(repo: Repo, error: Any) -> str:
    """A file is named and does not exist."""
    return f"it has no file {error.response.url}; see {repo.page}, or {repo.otherwise}."


def gated(repo: Repo, _: Any) -> str:
    """Its terms have to be accepted."""
    if _has_token():
        return (
            f"it is gated, and the account of the token in use has no access: accept the terms at "
            f"{repo.page} with that account, and wait where its owner has to agree."
        )
    return (
        f"it is gated: accept the terms at {repo.page}, then log in with `hf auth login` or set "
        "HF_TOKEN."
    )


def no_repo(repo: Repo, _: Any) -> str:
    """It does not exist, or is hidden from this account."""
    access = (
        "the token in use may not read it"
        if _has_token()
        else "log in with `hf auth login` or set HF_TOKEN"
    )
    return (
        f"there is no {repo.kind} {repo.id!r} at {endpoint()}{_similar(repo)} "
        f"Check the spelling; if it is private, {access}; or {repo.otherwise}."
    )


def no_revision(repo: Repo, _: Any) -> str:
    """It exists, and the revision does not."""
    from huggingface_hub import HfApi

    known: list[str] = []
    with _best_effort():
        refs = HfApi().list_repo_refs(repo.id, repo_type=repo.kind)
        known = [ref.name for ref in (*refs.branches, *refs.tags)]
    few = f"; its branches and tags: {known[:LISTED]}" if known else ""
    return (
        f"it has no revision {repo.revision!r}{few}{nearest(str(repo.revision), known) or '.'} "
        "Give one of these or the 40 digits of a commit."
    )


def offline(repo: Repo, _: Any) -> str:
    """The cache alone may be asked, and lacks it."""
    return (
        f"HF_HUB_OFFLINE is set and {_wanted(repo)} is not in the cache ({cache_folder()}): "
        f"unset it, load it once with a network, or {repo.otherwise}."
    )


def unreachable(repo: Repo, error: BaseException) -> str:
    """The hub does not answer, and the cache lacks it."""
    why = _line(error.__cause__) if error.__cause__ is not None else _line(error)
    return (
        f"{endpoint()} cannot be reached ({why}) and {_wanted(repo)} is not in the cache "
        f"({cache_folder()}), which would have been used. Check the network, or {repo.otherwise}."
    )


def broke_off(repo: Repo, error: BaseException) -> str:
    """It began to arrive."""
    return (
        f"the download from {endpoint()} broke off ({_line(error)}). Run the same command again: "
        "files that arrived whole are kept, nothing half-written is used."
    )


def no_hub(repo: Repo, error: BaseException) -> str:
    """Something answers that is no hub."""
    return (
        f"{endpoint()} does not answer like a hub ({_line(error)}). Check HF_ENDPOINT, and "
        "whether a proxy or a login page of the network answers instead."
    )


def answered(repo: Repo, error: Any) -> str:
    """The hub answers that it cannot or will not."""
    status = error.response.status_code
    if status == 429:
        return f"{endpoint()} limits how often it is asked (429): wait some minutes, or log in."
    if status == 401:
        return "the token in use is not valid: log in again with `hf auth login`, or set HF_TOKEN."
    if status >= 500:
        return (
            f"{endpoint()} failed ({status}), which is not your fault. Run the same command again "
            f"later, or {repo.otherwise}."
        )
    return f"{endpoint()} refused ({_line(error)}). {repo.otherwise.capitalize()}."


def _similar(repo: Repo) -> str:
    """Return the id on the hub that was probably meant, of the same owner or the same name."""
    from huggingface_hub import HfApi

    owner, slash, name = repo.id.rpartition("/")
    asked = {"author": owner} if slash else {"search": name}
    ids: list[str] = []
    with _best_effort():
        api = HfApi()
        find: Any = api.list_datasets if repo.kind == "dataset" else api.list_models
        ids = [found.id for found in find(limit=LISTED, **asked)]
    names = {one.rpartition("/")[2]: one for one in reversed(ids)}
    close = get_close_matches(name, names, n=1)
    return f"; did you mean {names[close[0]]!r}?" if close else "."


@contextmanager
def _best_effort() -> Iterator[None]:
    """Do without what would only have made a message better."""
    try:
        yield
    except (OSError, transport_error()):
        return


def _has_token() -> bool:
    from huggingface_hub import get_token

    return get_token() is not None


def _wanted(repo: Repo) -> str:
    return f"its revision {repo.revision!r}" if repo.revision else "it"


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__).rstrip(".")
