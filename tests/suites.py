"""Which suite runs a case: the fast one, the slow one, or the soak."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_or_soak(
    names: Iterable[str], slow: Collection[str], fast: Collection[str] = ()
) -> list[Any]:
    """Names as parameters: some in the fast suite, some in the slow one, the others in the soak."""
    marks = dict.fromkeys(slow, pytest.mark.slow) | {name: [] for name in fast}
    return [pytest.param(name, marks=marks.get(name, pytest.mark.soak)) for name in names]
