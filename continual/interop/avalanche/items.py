"""What an item of an Avalanche data set is to us: a row of a scenario.

    item                                                   row
    (picture, class, ...), or a dict with image            image, label
    (string, class, ...), or a dict with text and label    text, label
    a dict with text and target, without classes           text, target
    a dict with text alone                                 text

A picture is a tensor (1 or 3, H, W) or (H, W), floats in [0, 1] or whole numbers to 255, or what
`continual.scenario` reads as one. The class is the item's own, as the data set's transforms left
it; a dict without a ``label`` has that of the data set's ``targets``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from continual.errors import InputError
from continual.scenario.images import to_array

Row = dict[str, Any]
LOOKED_AT_TWICE = 32  # items of an experience, to see whether reading them draws something
RANDOM = (
    "reading the same item twice gives two results ({where}): its transforms draw at random, and a "
    "scenario is a value. Give train_transforms='eval', which reads the training data by its "
    "evaluation transforms, or make the benchmark without augmentation."
)


def read_rows(dataset: Any, where: str) -> list[Row]:
    """Return the rows of a data set; ``label`` is a class id.

    Args:
        dataset: any with a length and items.
        where: how a reader of an error message would call it.

    Raises:
        InputError: no items, or items that are nothing to us.
    """
    if not len(dataset):
        raise InputError(f"{where} has no items; every experience needs at least one.")
    targets = _targets(dataset)
    rows = [_row(dataset[k], targets, k, where) for k in range(len(dataset))]
    forms = sorted({tuple(row) for row in rows})
    if len(forms) > 1:
        raise InputError(f"{where} has items of several forms: {[list(form) for form in forms]}.")
    for k, row in enumerate(rows[:LOOKED_AT_TWICE]):
        again = _row(dataset[k], targets, k, where)
        if not all(np.array_equal(row[name], again[name]) for name in row):
            raise InputError(RANDOM.format(where=where))
    return _in_bytes(rows) if "image" in rows[0] else rows


def _targets(dataset: Any) -> Sequence[Any] | None:
    try:
        return dataset.targets
    except AttributeError:
        return None


def _row(item: Any, targets: Sequence[Any] | None, k: int, where: str) -> Row:
    if isinstance(item, Mapping):
        return _row_of_dict(item, targets, k, where)
    if not isinstance(item, list | tuple) or len(item) < 2:
        raise InputError(
            f"{where} has items of type {type(item).__name__}; allowed: (picture or text, class), "
            "or a dict with image or text."
        )
    x, label = item[0], _class_id(item[1], where)
    if isinstance(x, str):
        return {"text": x, "label": label}
    return {"image": _picture(x, where), "label": label}


def _row_of_dict(item: Mapping[str, Any], targets: Sequence[Any] | None, k: int, where: str) -> Row:
    label = item.get("label", None if targets is None else targets[k])
    found = {} if label is None else {"label": _class_id(label, where)}
    if "image" in item:
        return {"image": _picture(item["image"], where), **found}
    if not isinstance(item.get("text"), str):
        raise InputError(
            f"{where} has dicts with {sorted(map(str, item))}; a scenario needs 'image', or 'text' "
            "as a string: backbones bring their own tokenizer."
        )
    if not found and item.get("target"):
        found = {"target": str(item["target"])}
    return {"text": item["text"], **found}


def _class_id(value: Any, where: str) -> int:
    array = np.asarray(value) if not isinstance(value, Mapping) else np.array(None)
    if array.shape or not np.issubdtype(array.dtype, np.integer):
        raise InputError(
            f"{where} has a target of type {type(value).__name__}; a scenario has one class per "
            "item, a whole number. Detection, regression and several labels have no counterpart."
        )
    return int(array)


def _picture(value: Any, where: str) -> np.ndarray:
    """Return (H, W) or (H, W, 3), float32 in [0, 1]."""
    import torch

    if isinstance(value, torch.Tensor):
        array = value.detach().cpu().numpy()
        value = array.transpose(1, 2, 0) if array.ndim == 3 else array
    try:
        return to_array(value)
    except InputError as error:
        raise InputError(
            f"{where}: {error} Leave normalisation out of the transforms: backbones bring their "
            "own statistics."
        ) from error


def _in_bytes(rows: list[Row]) -> list[Row]:
    """Return the same pictures in a quarter of the memory, where all of them are whole 255ths."""
    levels = [np.rint(row["image"] * 255).astype(np.uint8) for row in rows]
    same = (
        np.array_equal(level.astype(np.float32) / 255, row["image"])
        for level, row in zip(levels, rows, strict=True)
    )
    if not all(same):
        return rows
    return [{**row, "image": level} for level, row in zip(levels, rows, strict=True)]
