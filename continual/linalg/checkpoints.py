"""The matrices of a checkpoint on disk, one at a time: a file larger than memory is no obstacle.

Read are safetensors files: one, or all of a folder, as transformers writes them (whole or in
shards). Only two-dimensional floating-point tensors of at least two rows and columns count.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from continual.errors import InputError
from continual.linalg.operand import Operand, prepare

FLOATING = {"F64", "F32", "F16", "BF16"}


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One matrix of a checkpoint; nothing of it is read before ``operand``."""

    name: str
    shape: tuple[int, int]
    dtype: str
    file: Path

    def operand(self) -> Operand:
        """Return the matrix, read now and ready for every decomposition.

        Raises:
            InputError: it holds NaN or infinity.
        """
        with safe_open(self.file, "pt") as stored:  # numpy knows no bfloat16
            return prepare(stored.get_tensor(self.name), self.name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Held:
    """One matrix of a model that is in memory already."""

    name: str
    shape: tuple[int, int]
    matrix: Operand

    def operand(self) -> Operand:
        """Return the matrix."""
        return self.matrix


def held(matrices: Mapping[str, object]) -> list[Held]:
    """Return matrices in memory as layers, in their order.

    Raises:
        InputError: one is no usable matrix; the message names it.
    """
    ready = {name: prepare(matrix, name) for name, matrix in matrices.items()}
    return [Held(name=name, shape=one.shape, matrix=one) for name, one in ready.items()]


def layers_of(path: Path, pattern: str = "") -> list[Layer]:
    """Return the matrices of a checkpoint whose name a regular expression finds, by name.

    Args:
        path: a safetensors file, or a folder with some.
        pattern: searched for in the name; everything by default.

    Raises:
        InputError: nothing to read, a damaged file, an unusable pattern, or no matrix of that name.
    """
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"--layers takes a regular expression; {pattern!r} is none: {error}."
        ) from None
    every = sorted((layer for file in _files(path) for layer in _in(file)), key=lambda x: x.name)
    chosen = [layer for layer in every if wanted.search(layer.name)]
    if not chosen:
        some = ", ".join(layer.name for layer in every[:5])
        raise InputError(
            f"{path} has no matrix whose name matches {pattern!r}; it has {len(every)}"
            + (f", such as {some}." if every else ".")
        )
    return chosen


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(path.glob("*.safetensors")) if path.is_dir() else []
    if not found:
        raise InputError(
            f"{path} is neither a safetensors file nor a folder with one. Give a file, a folder "
            "that save_pretrained wrote, or the name of an embedded backbone."
        )
    return found


def _in(file: Path) -> Iterator[Layer]:
    try:
        with safe_open(file, "pt") as stored:
            for name in stored.keys():  # noqa: SIM118 - not a dict
                piece = stored.get_slice(name)
                shape = tuple(piece.get_shape())
                if len(shape) == 2 and min(shape) > 1 and piece.get_dtype() in FLOATING:
                    yield Layer(name=name, shape=shape, dtype=piece.get_dtype(), file=file)
    except SafetensorError as error:
        raise InputError(f"{file} is not a readable safetensors file: {error}.") from None
