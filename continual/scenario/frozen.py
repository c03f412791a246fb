"""Values that cannot change: frozen mappings, and digests that are the same in every process."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from datasets import Dataset


class FrozenMapping(dict[str, Any]):
    """A dict that is a value: hashable, and refuses to be changed."""

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("this mapping is frozen; make a changed copy with {**mapping, key: value}.")

    __setitem__ = __delitem__ = __ior__ = _refuse  # type: ignore[assignment]
    clear = pop = popitem = setdefault = update = _refuse  # type: ignore[assignment]

    def __hash__(self) -> int:  # type: ignore[override]
        """Hash the set of items, so that equal mappings have equal hashes in any order of keys."""
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[type[FrozenMapping], tuple[dict[str, Any]]]:
        """Pickle as a plain dict, because unpickling a dict subclass assigns its items."""
        return FrozenMapping, (dict(self),)


def freeze(value: Any) -> Any:
    """Return `value` with every mapping frozen and every list a tuple, at any depth.

    >>> freeze({"a": [1, {"b": 2}]})
    {'a': (1, {'b': 2})}
    """
    if isinstance(value, Mapping):
        return FrozenMapping({str(key): freeze(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    return value


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that depend on the content of `value` alone.

    Arrays count with dtype and shape; anything else that JSON lacks counts as its `repr`.

    >>> digest({"a": 1, "b": [2.0, None]}) == digest({"b": (2.0, None), "a": 1})
    True
    """
    hasher = hashlib.blake2b(digest_size=8)
    hasher.update(json.dumps(value, sort_keys=True, default=_described).encode())
    return hasher.hexdigest()


def _described(value: Any) -> Any:
    if isinstance(value, bytes):
        return ["bytes", hashlib.blake2b(value, digest_size=16).hexdigest()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        content = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16)
        return ["array", str(value.dtype), list(value.shape), content.hexdigest()]
    if type(value).__module__.split(".")[0] == "PIL":
        return ["image", value.mode, _described(np.asarray(value))]
    return repr(value)


def is_dataset(value: object) -> bool:
    """Say whether `value` is a `datasets.Dataset`, without importing datasets."""
    module = sys.modules.get("datasets")
    return module is not None and isinstance(value, module.Dataset)


def dataset_digest(dataset: Dataset) -> str:
    """Hash the content, whichever files, chunks or row mapping it is stored in."""
    parts = []
    for start in range(0, len(dataset), 1000):
        rows: Any = dataset.with_format("arrow")[start : start + 1000]
        parts.append(digest(rows.to_pydict()))
    return digest([str(dataset.features), parts])
