"""Glyphs that look like scikit-learn's 8x8 digits but are not digits.

Letters (Latin, Greek, Cyrillic), punctuation and mathematical symbols, drawn with the fonts that
matplotlib ships. No digit of any script is drawn. A glyph is cropped, distorted, drawn as a 32x32
black-and-white bitmap and averaged over 4x4 blocks: 8x8 values k/16, bright ink on dark, which is
how the digits of `sklearn.datasets.load_digits` were made from handwriting.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, grid_sample, interpolate, max_pool2d

SIDE = 48  # pixels of a stored mask; the glyph itself is 36 high or wide, so that it can move
INK = 36
FULL_FONTS = [
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
]
LATIN_FONTS = ["cmr10", "cmb10", "cmss10", "cmtt10", "cmmi10"]  # no Unicode beyond ASCII letters
HELD_OUT_FONTS = {"DejaVuSerif", "STIXGeneralItalic", "cmtt10"}
LATIN = [chr(c) for c in (*range(0x41, 0x5B), *range(0x61, 0x7B))]
OTHERS = [
    *(chr(c) for c in range(0x391, 0x3CA) if c != 0x3A2),  # Greek; 0x3A2 is not assigned
    *(chr(c) for c in range(0x410, 0x450)),  # Cyrillic
    *"!?#$%&@*+<>=/\\()[]{}~^§¶¿¡£¥€",
    *"∀∂∃∅∆∇∈∋∏∑√∝∞∠∧∨∩∪∫∴≈≠≡≤≥⊂⊃⊆⊇⊕⊗⊥±×÷←↑→↓↔⇒⇔",
]
SAME = 0.93  # overlap (intersection over union) above which two characters are one class


@dataclass(frozen=True, kw_only=True)
class Glyphs:
    """Masks (n, 48, 48) in [0, 1] with class and font of each; `classes` names the characters."""

    masks: Tensor
    labels: Tensor
    held_out: Tensor  # bool: drawn with a held-out font
    classes: list[str]


def draw(font: str, character: str) -> np.ndarray | None:
    """Return a (48, 48) mask with the cropped glyph in its middle, or None if the font lacks it."""
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    if not _font(str(path)).get_char_index(ord(character)):
        return None
    canvas = Image.new("L", (256, 256))
    ImageDraw.Draw(canvas).text((64, 40), character, fill=255, font=_pil(str(path)))
    box = canvas.getbbox()
    if box is None:
        return None
    glyph = canvas.crop(box)
    scale = INK / max(glyph.size)
    size = [max(3, round(side * scale)) for side in glyph.size]
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(glyph.resize(size, Image.Resampling.BOX), [(SIDE - side) // 2 for side in size])
    return np.asarray(mask, dtype=np.float32) / 255


@cache
def _font(path: str) -> FT2Font:
    return FT2Font(path)


@cache
def _pil(path: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, 128)


def all_glyphs() -> Glyphs:
    """Draw everything; characters that look alike in DejaVu Sans (o, O, Greek Ο) are one class."""
    characters = LATIN + OTHERS
    assert not any(unicodedata.category(c).startswith("N") for c in characters)
    shapes: list[np.ndarray] = []
    classes: list[str] = []
    label_of: dict[str, int] = {}
    for character in characters:
        mask = draw("DejaVuSans", character)
        assert mask is not None, character
        overlaps = [np.minimum(mask, s).sum() / np.maximum(mask, s).sum() for s in shapes]
        best = int(np.argmax(overlaps)) if overlaps else 0
        if not overlaps or overlaps[best] < SAME:
            best = len(shapes)
            shapes.append(mask)
            classes.append("")
        classes[best] += character
        label_of[character] = best
    cases = [(font, c) for font in FULL_FONTS for c in characters]
    cases += [(font, c) for font in LATIN_FONTS for c in LATIN]
    drawn = [(draw(font, c), label_of[c], font in HELD_OUT_FONTS) for font, c in cases]
    kept = [case for case in drawn if case[0] is not None]
    return Glyphs(
        masks=torch.from_numpy(np.stack([mask for mask, _, _ in kept])),
        labels=torch.tensor([label for _, label, _ in kept]),
        held_out=torch.tensor([held for _, _, held in kept]),
        classes=classes,
    )


def uniform(n: int, low: float, high: float, random: torch.Generator) -> Tensor:
    """Return n uniform numbers between `low` and `high`."""
    return torch.rand(n, generator=random) * (high - low) + low


def distort(masks: Tensor, random: torch.Generator) -> Tensor:
    """Rotate, scale, shear, shift and bend masks (n, 48, 48); return (n, 1, 64, 64)."""
    n = len(masks)
    angle, shear = uniform(n, -0.3, 0.3, random), uniform(n, -0.35, 0.35, random)
    width, height = uniform(n, 0.62, 1.0, random), uniform(n, 0.72, 0.84, random)
    cos, sin = angle.cos(), angle.sin()
    move_x, move_y = uniform(n, -0.12, 0.12, random), uniform(n, -0.06, 0.06, random)
    rows = [
        torch.stack([cos * width, (shear * cos - sin) * width, move_x], 1),
        torch.stack([sin * height, (shear * sin + cos) * height, move_y], 1),
    ]
    grid = affine_grid(torch.stack(rows, 1), [n, 1, 64, 64], align_corners=False)
    bend = (
        torch.randn(n, 2, 4, 4, generator=random)
        * uniform(n, 0.0, 0.11, random)[:, None, None, None]
    )
    bend = interpolate(bend, size=(64, 64), mode="bicubic", align_corners=True)
    return grid_sample(masks[:, None], grid + bend.permute(0, 2, 3, 1), align_corners=False)


def augment(masks: Tensor, random: torch.Generator) -> Tensor:
    """Return 8x8 images (n, 8, 8) in [0, 1] in the look of `load_digits`."""
    n = len(masks)
    images = distort(masks, random)
    choice = torch.rand(n, 1, 1, 1, generator=random)
    thick, thin = max_pool2d(images, 5, 1, 2), -max_pool2d(-images, 3, 1, 1)
    thicker = max_pool2d(images, 7, 1, 3)
    images = torch.where(choice < 0.3, thick, torch.where(choice > 0.9, thin, images))
    images = torch.where((choice > 0.3) & (choice < 0.45), thicker, images)
    bitmap = (avg_pool2d(images, 2) > 0.4).float()
    small = avg_pool2d(bitmap, 4)
    soft = interpolate(avg_pool2d(small, 3, 1, 1, count_include_pad=False), size=(8, 8))
    blur = uniform(n, -0.3, 0.5, random).clamp(min=0)[:, None, None, None]
    small = small * (1 - blur) + soft * blur
    contrast = uniform(n, 0.7, 1.15, random)[:, None, None, None]
    noise = (
        torch.randn(small.shape, generator=random)
        * uniform(n, 0, 0.06, random)[:, None, None, None]
    )
    small = (small * contrast + noise).clamp(0, 1)
    return ((small * 16).round() / 16)[:, 0]


def plain(masks: Tensor) -> Tensor:
    """Return 8x8 images of masks (n, 48, 48) without any distortion."""
    inner = interpolate(masks[:, None, 5:43, 5:43], size=(32, 32), mode="bilinear", antialias=True)
    return avg_pool2d((inner > 0.4).float(), 4)[:, 0]
