"""How a model is held: dtype, device and attention, each one of a few known words."""

import torch

from continual.errors import InputError, unknown

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ATTENTIONS = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")


def parse_dtype(name: str) -> torch.dtype:
    """Return the torch dtype of that name; an InputError lists the known ones."""
    if name not in DTYPES:
        raise unknown("dtype", name, DTYPES)
    return DTYPES[name]


def parse_device(name: str) -> torch.device:
    """Return the device of that name.

    Raises:
        InputError: no such device, here or anywhere.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        usable = ["cpu"] + (["cuda"] if torch.cuda.is_available() else [])
        usable += ["mps"] if torch.backends.mps.is_available() else []
        raise InputError(
            f"device {name!r} cannot be used here ({str(error).splitlines()[0]}); usable: {usable}."
        ) from error
    return device


def parse_attention(name: str | None) -> str | None:
    """Return the attention implementation; None leaves the choice to transformers."""
    if name is not None and name not in ATTENTIONS:
        raise unknown("attention", name, ATTENTIONS)
    return name
