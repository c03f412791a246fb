"""In which block of the network an adapted weight lies, and how deep, from the names alone."""

from collections.abc import Iterable

MIDDLE = 0.5  # of a layer whose name has no number, or where all have the same


def in_block(name: str) -> tuple[str, str]:
    """Return the path of the block that a layer lies in, and the rest of the layer's path.

    The number of a block is the first whole component of a path that is one; a path without a
    number lies in no block, whose name is empty.

    >>> in_block("model.layers.3.self_attn.q_proj")
    ('model.layers.3', 'self_attn.q_proj')
    >>> in_block("encoder.block.0.layer.1.q")
    ('encoder.block.0', 'layer.1.q')
    >>> in_block("classifier")
    ('', 'classifier')
    """
    parts = name.split(".")
    cut = next((k + 1 for k, part in enumerate(parts) if part.isdecimal()), 0)
    return ".".join(parts[:cut]), ".".join(parts[cut:])


def depths(names: Iterable[str]) -> dict[str, float]:
    """Return 0 for layers of the first numbered block, 1 for those of the last.

    >>> depths(["layers.0.q", "layers.1.q", "layers.4.q", "head"])
    {'layers.0.q': 0.0, 'layers.1.q': 0.25, 'layers.4.q': 1.0, 'head': 0.5}
    """
    blocks = {name: in_block(name)[0].rpartition(".")[2] for name in names}
    numbers = {name: int(number) for name, number in blocks.items() if number}
    first, last = min(numbers.values(), default=0), max(numbers.values(), default=0)
    flat = first == last
    return {
        name: MIDDLE if flat or name not in numbers else (numbers[name] - first) / (last - first)
        for name in blocks
    }
