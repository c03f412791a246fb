"""From what the hub's libraries raise to an InputError that says what to do.

They wrap an error in others of their own, so the whole chain of causes is looked at.
"""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from continual.errors import InputError
from continual.hub import reasons
from continual.hub.repo import Repo, transport_error

FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)

Kind = TypeVar("Kind", bound=BaseException)


@contextmanager
def telling(repo: Repo) -> Iterator[None]:
    """Raise what the hub's libraries raise inside the block as an InputError, where it is known."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, RuntimeError, transport_error(), EntryNotFoundError) as error:
        reason = explain(repo, error)
        if reason is None:
            raise
        raise InputError(f"cannot load {repo.what}: {reason}") from error


def explain(repo: Repo, error: BaseException) -> str | None:
    """Return in our words why the hub did not give what was asked; None for anything else."""
    from huggingface_hub import errors as hub

    links = list(_chain(error))
    cases: list[tuple[type[BaseException], Callable[[Repo, Any], str]]] = [
        (hub.GatedRepoError, reasons.gated),
        (hub.DisabledRepoError, lambda repo, _: f"it was disabled on the hub; {repo.otherwise}."),
        (hub.RevisionNotFoundError, reasons.no_revision),
        (hub.RepositoryNotFoundError, reasons.no_repo),
        (hub.HFValidationError, lambda repo, _: f"{repo.id!r} is no hub id ('owner/name')."),
        (hub.OfflineModeIsEnabled, reasons.offline),
        (hub.FileMetadataError, reasons.no_hub),
        (hub.RemoteEntryNotFoundError, reasons.no_file),
        (hub.HfHubHTTPError, reasons.answered),
        (hub.LocalEntryNotFoundError, reasons.offline if repo.offline else reasons.unreachable),
        (transport_error(), reasons.broke_off),
        (ConnectionError, reasons.unreachable),
    ]
    numbers = {link.errno for link in links if isinstance(link, OSError)}
    if numbers.intersection(FULL) or any("Not enough disk space" in str(link) for link in links):
        return reasons.full()
    if numbers.intersection(NOT_WRITABLE):
        return reasons.not_writable()
    for kind, reason in cases:
        if found := _first(links, kind):
            return reason(repo, found)
    if broken := [link for link in links if "Consistency check failed" in str(link)]:
        return reasons.broke_off(repo, broken[0])
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _first(links: Sequence[BaseException], kind: type[Kind]) -> Kind | None:
    return next((link for link in links if isinstance(link, kind)), None)
