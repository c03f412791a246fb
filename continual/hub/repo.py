"""What is asked of the hub, and where it is."""

from dataclasses import dataclass
from typing import Literal


def endpoint() -> str:
    """Return the address of the hub (HF_ENDPOINT)."""
    from huggingface_hub import constants

    return constants.ENDPOINT


def cache_folder() -> str:
    """Return the folder of the hub's cache (HF_HUB_CACHE, below HF_HOME)."""
    from huggingface_hub import constants

    return constants.HF_HUB_CACHE


def is_offline() -> bool:
    """Say whether HF_HUB_OFFLINE forbids to ask the hub."""
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


def transport_error() -> type[Exception]:
    """Return what the HTTP library of the hub raises: httpx or httpx2, by the hub's version."""
    from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]

    return HTTPError


@dataclass(frozen=True, kw_only=True)
class Repo:
    """What is asked of the hub, and how errors speak of it.

    Attributes:
        id: owner/name.
        kind: dataset or model.
        what: the words for it: "backbone 'org/tiny'".
        otherwise: what to give instead of it: "give a local directory".
        revision: a branch, tag or commit; None is the main branch.
        offline: whether only the cache may be asked.
    """

    id: str
    kind: Literal["dataset", "model"]
    what: str
    otherwise: str
    revision: str | None = None
    offline: bool = False

    @property
    def page(self) -> str:
        """Where a reader finds it."""
        return f"{endpoint()}/{'datasets/' if self.kind == 'dataset' else ''}{self.id}"
