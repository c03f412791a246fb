"""Scripts of studies as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

STUDIES = Path(__file__).parents[2] / "analysis"


def load(study: str, *names: str) -> list[ModuleType]:
    """Return scripts of a study; later ones may import earlier ones by their names."""
    with pytest.MonkeyPatch.context() as patch:
        return [_load(study, name, patch) for name in names]


def _load(study: str, name: str, patch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, STUDIES / study / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module
