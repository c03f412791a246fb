"""Decompositions kept on disk, so that no matrix is decomposed twice the same way.

    key = blake2b(shape, dtype, numbers of the matrix; function; its arguments; versions)

One safetensors file per result, with a checksum of its own: written under a temporary name, fsynced
and renamed, so that several processes may share a folder. When the folder grows beyond its bound,
what was used longest ago goes first. A damaged file is reported and computed again; a folder that
cannot be written is reported, and the result is returned all the same.
"""

import contextlib
import dataclasses
import hashlib
import inspect
import json
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast, final

import numpy as np
import scipy
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy import sparse

from continual.errors import InputError
from continual.linalg.operand import Operand, prepare

VERSION = 1  # of what the functions compute; raised when a result changes
LIMIT = 4 * 2**30  # bytes
SUFFIX = ".safetensors"
ABANDONED = 3600.0  # seconds after which a draft belongs to nobody

Result = TypeVar("Result")


@final
class Cache:
    """A folder of results.

    >>> import tempfile
    >>> from continual.linalg import svd
    >>> cache = Cache(Path(tempfile.mkdtemp()))
    >>> cache.call(svd, np.diag([3.0, 4.0]), rank=1).s
    array([4.])
    """

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        """Use a folder, which is made when it is needed.

        Args:
            folder: by default ~/.cache/continual/linalg, or where XDG_CACHE_HOME says.
            limit: bytes that all results together may take.

        Raises:
            InputError: a limit below 1.
        """
        if limit < 1:
            raise InputError(f"the limit of a cache must be at least 1 byte; got {limit}.")
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        self.folder = folder or base / "continual" / "linalg"
        self.limit = limit

    def call(self, function: Callable[..., Result], matrix: object, **arguments: Any) -> Result:
        """Return ``function(matrix, **arguments)``, read from disk if it was computed before.

        Args:
            function: svd, cur, interpolative, pivoted_qr: what returns a frozen dataclass.
            matrix: (m, n), whatever ``prepare`` takes, except a LinearOperator.
            arguments: of the function, JSON-like.

        Raises:
            InputError: a LinearOperator, whose content is unknown; what the function refuses.
        """
        kind = function.__annotations__.get("return")
        if not dataclasses.is_dataclass(kind):
            raise InputError(
                f"a cache keeps what returns a frozen dataclass, such as svd or cur; "
                f"{function.__qualname__} returns {kind}."
            )
        operand = prepare(matrix)
        file = self.folder / (key_of(function, operand, arguments) + SUFFIX)
        found = self._read(file)
        if found is not None:
            return cast(Callable[..., Result], kind)(**found)
        result = function(operand, **arguments)
        try:
            self._write(file, result)
        except OSError as error:
            warnings.warn(f"a decomposition could not be kept in {file}: {error}", stacklevel=2)
        return result

    def _read(self, file: Path) -> dict[str, Any] | None:
        if not file.exists():
            return None
        try:
            with safe_open(file, "numpy") as stored:
                about = json.loads((stored.metadata() or {})["about"])
                arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            if about["checksum"] != _checksum(arrays, about["facts"]):
                raise ValueError("its checksum is wrong")
            with contextlib.suppress(OSError):  # gone by now, or not ours: the result is read
                os.utime(file)
        except FileNotFoundError:  # another process made room
            return None
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            warnings.warn(
                f"the cached decomposition {file} is damaged ({error}); it is computed again.",
                stacklevel=3,
            )
            return None
        for array in arrays.values():
            array.flags.writeable = False
        return arrays | about["facts"]

    def _write(self, file: Path, result: Any) -> None:
        """Write atomically; make room if the folder has grown beyond its bound."""
        fields = {f.name: getattr(result, f.name) for f in dataclasses.fields(result)}
        arrays = {n: np.ascontiguousarray(v) for n, v in fields.items() if _is_array(v)}
        facts = {name: value for name, value in fields.items() if name not in arrays}
        about = json.dumps({"facts": facts, "checksum": _checksum(arrays, facts)})
        self.folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.folder, suffix=".new")
        os.close(handle)
        temporary = Path(name)
        try:
            save_file(arrays, temporary, metadata={"about": about})
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
        self._make_room(file)

    def _make_room(self, kept: Path) -> None:
        found = []
        for draft in self.folder.glob("*.new"):  # of processes that were killed
            with contextlib.suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > ABANDONED:
                    draft.unlink()
        for path in self.folder.glob(f"*{SUFFIX}"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total <= self.limit:
                break
            if path != kept:
                path.unlink(missing_ok=True)
                total -= size


def content_hash(matrix: object) -> str:
    """Return a hash of shape, dtype and numbers, whatever the memory layout: about 1 GB/s.

    Raises:
        InputError: a LinearOperator, which has no content, or an unusable matrix.
    """
    operand = prepare(matrix)
    return operand.once("content", lambda: _content(operand))


def _content(operand: Operand) -> str:
    digest = hashlib.blake2b(f"{operand.shape}|{operand.dtype}|".encode(), digest_size=16)
    values = operand.values
    if sparse.issparse(values):
        values.sort_indices()
        for part in (values.indptr, values.indices, values.data):
            digest.update(np.ascontiguousarray(part).data)
    elif isinstance(values, np.ndarray):
        digest.update(values.data)
    else:
        raise InputError("a LinearOperator has no content to hash; decompose it without a cache.")
    return digest.hexdigest()


def key_of(function: Callable[..., Any], matrix: object, arguments: dict[str, Any]) -> str:
    """Return the name under which a result is kept: arguments left out count as their defaults.

    Raises:
        InputError: a matrix without content.
    """
    bound = inspect.signature(function).bind(None, **arguments)
    bound.apply_defaults()
    given = {name: _plain(value) for name, value in list(bound.arguments.items())[1:]}
    name = f"{function.__module__}.{function.__qualname__}"
    versions = [VERSION, np.__version__, scipy.__version__]
    about = json.dumps([name, given, versions, content_hash(matrix)], sort_keys=True)
    return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_array(value: object) -> bool:
    return isinstance(value, np.ndarray)


def _checksum(arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> str:
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name}|{array.dtype}|{array.shape}|".encode())
        digest.update(array.data)
    return digest.hexdigest()
