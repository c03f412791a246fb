"""Which commit a name means, and a model's files of that commit in the hub's own cache.

Everything after `locate` asks for one commit, so that what is loaded is what is recorded, also
where the hub changes in between.
"""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging import CRITICAL
from pathlib import Path
from typing import Any

from continual.errors import InputError
from continual.hub.refusals import telling
from continual.hub.repo import Repo, cache_folder

CONFIG = "config.json"
CARD = "README.md"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
# What belongs to a model besides its weights, all in the repository's top folder.
SMALL = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".vocab", ".bpe")
# Weights that can run code when they are read, or that transformers does not read.
OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack", ".gguf", ".onnx")
# One of these in a snapshot says that tokenizer or image statistics were fetched.
READERS = ("tokenizer_config.json", "tokenizer.json", "preprocessor_config.json")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the hub's progress bars, retries and warnings; failures are in the exceptions."""
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
        logging,
    )

    bars, level = not are_progress_bars_disabled(), logging.get_verbosity()
    if bars:
        disable_progress_bars()
    logging.set_verbosity(CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="huggingface_hub")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            enable_progress_bars()


def locate(repo: Repo, probe: str) -> str:
    """Return the commit that a revision means now, or meant when the hub was last reached.

    Args:
        repo: what is asked for.
        probe: a file in its top folder, downloaded to see who may read; it may be missing.

    Raises:
        InputError: there is no such repository or revision, it may not be read, or it can
            neither be reached nor found in the cache.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError

    with telling(repo), quiet():
        try:
            found = hf_hub_download(
                repo.id,
                probe,
                repo_type=repo.kind,
                revision=repo.revision,
                local_files_only=repo.offline,
            )
        except RemoteEntryNotFoundError as error:
            return error.response.headers["X-Repo-Commit"]
        except LocalEntryNotFoundError:
            commit = _remembered(repo)
            if commit is None:
                raise
            return commit
    return Path(found).parent.name  # .../snapshots/COMMIT/probe


def _remembered(repo: Repo) -> str | None:
    """Return the commit that the cache knows for a revision, where it knows one."""
    folder = Path(cache_folder()) / f"{repo.kind}s--{repo.id.replace('/', '--')}"
    revision = repo.revision or "main"
    if (folder / "snapshots" / revision).is_dir():
        return revision
    ref = folder / "refs" / revision
    return ref.read_text().strip() if ref.is_file() else None


def cached_card(repo_id: str, commit: str) -> dict[str, Any] | None:
    """Return the metadata of a data set's card, {} where it has none, None where that is not known.

    Only the cache is asked.
    """
    from huggingface_hub import DatasetCard, try_to_load_from_cache

    card = try_to_load_from_cache(repo_id, CARD, repo_type="dataset", revision=commit)
    if card is None:
        return None
    return DatasetCard.load(card).data.to_dict() if isinstance(card, str) else {}


def model_folder(repo: Repo, *, weights: bool, code: bool) -> Path:
    """Return the cache's folder of a model, whose name is the commit, with its files in it.

    Args:
        repo: the model.
        weights: fetch its weights and what reads its inputs, not only its configuration.
        code: fetch the Python files that come with it.

    Raises:
        InputError: it cannot be had, it is no model, or it has no weights as safetensors.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    commit = locate(repo, CONFIG)
    with telling(repo), quiet():
        try:
            path = hf_hub_download(repo.id, CONFIG, revision=commit, local_files_only=repo.offline)
        except RemoteEntryNotFoundError as error:
            raise InputError(
                f"cannot load {repo.what}: it holds no {CONFIG}, so it is no transformers model "
                f"(an adapter is not one): see {repo.page}."
            ) from error
        folder = Path(path).parent
        if (not weights or _whole(folder)) and (repo.offline or not code):
            return folder
        names = HfApi().list_repo_files(repo.id, revision=commit)
        for name in _small(names, weights, code):
            hf_hub_download(repo.id, name, revision=commit)
        if weights:
            _check_weights(repo, names)
            for name in _shards(folder, names):
                hf_hub_download(repo.id, name, revision=commit)
    return folder


def _small(names: Sequence[str], weights: bool, code: bool) -> list[str]:
    read = [name for name in names if "/" not in name and name.endswith(SMALL)] if weights else []
    return read + [name for name in names if name.endswith(".py") and code]


def _shards(folder: Path, names: Sequence[str]) -> list[str]:
    """Return the weight files in the order of their names; they come last, as `_whole` needs."""
    if WEIGHTS in names:
        return [WEIGHTS]
    return sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))


def _whole(folder: Path) -> bool:
    """Say whether everything has been fetched, without asking the hub."""
    names = {path.name for path in folder.iterdir() if path.exists()}
    if not names.intersection(READERS) or not names.intersection((WEIGHTS, INDEX)):
        return False
    return all((folder / name).exists() for name in _shards(folder, sorted(names)))


def _check_weights(repo: Repo, names: Sequence[str]) -> None:
    if WEIGHTS in names or INDEX in names:
        return
    others = [name for name in names if name.endswith(OTHER_WEIGHTS)]
    raise InputError(
        f"cannot load {repo.what}: it has no weights as safetensors ({WEIGHTS})"
        f"{f', only {others[:4]}' if others else ''}. Pickled weights can run code when they are "
        "read, so they are not: convert them (https://huggingface.co/spaces/safetensors/convert) "
        f"and give that revision, or {repo.otherwise}."
    )
