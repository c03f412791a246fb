"""The vision transformer that comes with the package has learned something."""

import importlib.util
import sys
import unicodedata
from pathlib import Path

from continual.backbone import EMBEDDED

ROOT = Path(__file__).parents[2] / "analysis" / "tiny-vit"


def load(name: str):
    spec = importlib.util.spec_from_file_location(f"tiny_vit_{name}", ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_frozen_features_beat_raw_pixels_on_digits():
    """Under the same nearest-class-mean classifier, by either distance."""
    found = load("evaluate").compare()

    assert found["cls, euclidean"] > found["pixels, euclidean"]
    assert found["cls, cosine"] > found["pixels, cosine"]


def test_it_is_small():
    """At most 4 MB on disk."""
    assert sum(path.stat().st_size for path in EMBEDDED["tiny-vit"].iterdir()) <= 4 * 2**20


def test_no_digit_was_among_the_glyphs():
    """No character that it was trained on is a number in any script."""
    glyphs = load("glyphs")

    characters = [*glyphs.LATIN, *glyphs.OTHERS]
    assert not [c for c in characters if unicodedata.category(c).startswith("N")]
