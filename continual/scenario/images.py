"""Turns what a data set calls an image into float32 (H, W) or (H, W, 3) in [0, 1]."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from jaxtyping import Float32

from continual.errors import InputError


def to_array(value: Any) -> Float32[np.ndarray, "h w *rgb"]:
    """Return an image as a read-only float32 array, (H, W) or (H, W, 3), in [0, 1].

    Integers are read as 0 to 255 and divided by 255; floats must already be in [0, 1]. Grey images
    stay (H, W), all others become RGB; an alpha channel is dropped.

    Args:
        value: a PIL image, an array, nested lists, or the undecoded {"bytes", "path"} of datasets.

    Raises:
        InputError: the shape or the range is another one, or the bytes are not an image.
    """
    if isinstance(value, dict):
        value = _decoded(value)
    pillow = type(value).__module__.split(".")[0] == "PIL"
    array = _pixels(value) if pillow else _numbers(value)
    array.setflags(write=False)
    return array


def stored(value: Any) -> bytes:
    """Return the bytes that identify an image, without decoding a compressed one.

    Raises:
        InputError: they do not begin as an image does, or the file is not there.
    """
    if isinstance(value, dict):
        content = value.get("bytes")
        if content is None:
            content = _content(value["path"])
        _opened({"bytes": content, "path": value.get("path")}).close()
        return content
    array = to_array(value)
    return str(array.shape).encode() + array.tobytes()


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"cannot read the image {path}: {error}.") from error


def _opened(value: dict[str, Any]) -> Any:
    """Return an image of which only the first bytes were looked at."""
    from PIL import Image, UnidentifiedImageError

    source = io.BytesIO(value["bytes"]) if value.get("bytes") is not None else value["path"]
    try:
        return Image.open(source)
    except (UnidentifiedImageError, OSError) as error:
        raise _undecodable(value, error) from error


def _decoded(value: dict[str, Any]) -> Any:
    image = _opened(value)
    try:
        image.load()
    except OSError as error:
        raise _undecodable(value, error) from error
    return image


def _undecodable(value: dict[str, Any], error: Exception) -> InputError:
    where = value.get("path") or "an image column"
    return InputError(f"cannot decode an image of {where}: {error}.")


def _pixels(image: Any) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.asarray(image, dtype=np.float32) / 65535
    mode = "L" if image.mode in ("1", "L") else "RGB"
    return np.asarray(image.convert(mode), dtype=np.float32) / 255


def _numbers(value: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
        whole = np.issubdtype(array.dtype, np.integer) or array.dtype == bool
        array = array.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"an image must be an array of numbers; got {type(value).__name__}."
        ) from error
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3) or not array.size:
        raise InputError(
            f"an image must have shape (H, W), (H, W, 1) or (H, W, 3), channels last; "
            f"got {array.shape}."
        )
    low, high = float(array.min()), float(array.max())
    top = 255.0 if whole else 1.0
    if not (low >= 0 and high <= top):
        kind = "integers 0 to 255" if whole else "floats in [0, 1]"
        raise InputError(f"image values must be {kind}; got {low:g} to {high:g}. Rescale them.")
    return array / 255 if whole else array
