"""How deep in the network an adapted weight lies, from the names of all of them."""

import re
from collections.abc import Iterable

BLOCK = re.compile(r"(?:^|\.)(\d+)(?=\.|$)")
MIDDLE = 0.5  # of a layer whose name has no number, or where all have the same


def depths(names: Iterable[str]) -> dict[str, float]:
    """Return 0 for layers of the first numbered block, 1 for those of the last.

    The number of a block is the first whole component of a layer's path that is one.

    >>> depths(["layers.0.q", "layers.1.q", "layers.4.q", "head"])
    {'layers.0.q': 0.0, 'layers.1.q': 0.25, 'layers.4.q': 1.0, 'head': 0.5}
    """
    found = {name: BLOCK.search(name) for name in names}
    blocks = [int(match[1]) for match in found.values() if match is not None]
    first, last = min(blocks, default=0), max(blocks, default=0)
    return {
        name: MIDDLE if match is None or first == last else (int(match[1]) - first) / (last - first)
        for name, match in found.items()
    }
