"""A guard for the doors of transformers, peft and avalanche.

avalanche-lib requires torchvision, and the package index only offers torchvision built against
CUDA. Beside a CPU-only torch its compiled operators do not load, ``import torchvision`` raises
``operator torchvision::nms does not exist``, and with it the import of transformers' model classes,
peft and avalanche. Declaring the two missing schemas lets the Python side of torchvision load.
``torchvision.ops.nms`` itself stays unusable there, and nothing in this library calls it.
"""

import importlib.util
import sys
from typing import Any

_declared: list[Any] = []  # the library object must outlive the import


def ensure_torchvision() -> bool:
    """Make ``import torchvision`` succeed beside a CPU-only torch; a no-op on a healthy install.

    Call it before importing transformers' model classes, peft or avalanche.

    Returns:
        True where the guard had to declare the operators, False where nothing was done.

    Raises:
        RuntimeError: torchvision fails to import for another reason than the missing operators.
    """
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is None:
        return False
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return False
    _declare_operators()
    import torchvision  # noqa: F401

    return True


def _declare_operators() -> None:
    import torch

    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
