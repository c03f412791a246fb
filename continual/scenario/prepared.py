"""What datasets has prepared before, by commit: .../owner___name/CONFIG/VERSION/COMMIT."""

from __future__ import annotations

import json
from glob import escape
from pathlib import Path
from typing import Any

from continual.errors import InputError, nearest
from continual.hub import cached_card
from continual.scenario.sources import HubSource

DIGITS = 7  # of a commit in messages
ANY = "*"  # configuration
AS_FILES = "give the rows as files (--data DIR, see `continual data --help`)"


def prepared(source: HubSource, commit: str) -> Any:
    """Return a builder of what datasets has prepared of this commit, or None."""
    from datasets.packaged_modules.cache.cache import Cache

    config = source.config or _default_config(source, commit)
    found = [path for path in _folders(source, config) if path.name == commit] if config else []
    if len(found) != 1:
        return None
    return Cache(
        dataset_name=source.hub.split("/")[1],
        repo_id=source.hub,
        config_name=found[0].parent.parent.name,
        version=found[0].parent.name,
        hash=commit,
    )


def not_prepared(source: HubSource, commit: str) -> InputError:
    """Build the error for rows that are not there, which names those that are."""
    found = [(path.parent.parent.name, path.name) for path in _folders(source, ANY)]
    has = ", ".join(f"{config!r} at {digits[:DIGITS]}" for config, digits in found)
    config = source.config or ""
    return InputError(
        f"cannot load {source.describe()}: the hub cannot be asked, and of its commit "
        f"{commit[:DIGITS]} the cache has no such rows (prepared: {has or 'none'}"
        f"{nearest(config, [name for name, _ in found])}). Load it once with a network, without "
        f"HF_HUB_OFFLINE, or {AS_FILES}."
    )


def _folders(source: HubSource, config: str) -> list[Path]:
    """Return what datasets has prepared: .../owner___name/CONFIG/VERSION/COMMIT."""
    from datasets import config as settings
    from datasets.naming import camelcase_to_snakecase

    owner, name = source.hub.split("/")
    top = Path(settings.HF_DATASETS_CACHE) / f"{owner}___{camelcase_to_snakecase(name)}"
    return [
        path
        for path in sorted(top.glob(f"{config if config == ANY else escape(config)}/*/*"))
        if (path / "dataset_info.json").is_file()
        and json.loads((path / "dataset_info.json").read_text())["config_name"]
        == path.parent.parent.name
    ]


def _default_config(source: HubSource, commit: str) -> str | None:
    """Return the configuration that the data set's card makes the default; None: not known.

    A data set whose card tells of none has only one, whatever its name: ANY.
    """
    card = cached_card(source.hub, commit)
    if card is None:
        return None
    configs = card.get("configs") or []
    names = [config["config_name"] for config in configs]
    chosen = [config["config_name"] for config in configs if config.get("default")]
    if chosen or len(names) < 2:
        return (chosen or names or [ANY])[0]
    return "default" if "default" in names else None
