"""Vision transformers with a head of ours: the feature of an image is its CLS token.

Images are resized to the model's image size (bilinear, smoothed where they shrink) and normalised
to (x - mean) / std with the statistics of the model's preprocessor_config.json, or 0.5 and 0.5
where it has none. Grey images are repeated for models of three channels; colours are weighed
0.299, 0.587, 0.114 for models of one.
"""

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Any, final
from weakref import WeakSet

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from continual.backbone.base import Answers, Backbone, DocumentNats, Encoded, Scored
from continual.backbone.door import quiet
from continual.backbone.heads import Heads
from continual.backbone.passes import WHOLE, Share, evaluating
from continual.backbone.scoring import head_answers, score_heads
from continual.backbone.transfer import on_device
from continual.errors import InputError
from continual.scenario import Candidates, Split, Task

LUMA = (0.299, 0.587, 0.114)
KEPT_BYTES = 2**30  # prepared images of all splits beyond this are made again for every batch


class Images:
    """What a model wants an image to be.

    Attributes:
        size: (height, width) in pixels.
        channels: 1 or 3.
    """

    def __init__(self, config: Any, statistics: dict[str, Any]) -> None:
        size = config.image_size
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        self.channels: int = config.num_channels
        if self.channels not in (1, 3):
            raise InputError(f"images have 1 or 3 channels; this model wants {self.channels}.")
        self.statistics = statistics
        normal = statistics.get("do_normalize", True)
        self.mean = self._per_channel(statistics.get("image_mean", 0.5) if normal else 0.0)
        self.std = self._per_channel(statistics.get("image_std", 0.5) if normal else 1.0)

    def _per_channel(self, given: float | list[float]) -> Float[Tensor, "c 1 1"]:
        values = [given] * self.channels if isinstance(given, int | float) else given
        if len(values) not in (1, self.channels):
            raise InputError(
                f"preprocessor_config.json has statistics of {len(values)} channels and the model "
                f"{self.channels}; correct image_mean and image_std."
            )
        return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)

    def prepare(self, image: np.ndarray) -> Float[Tensor, "c h w"]:
        """Return an image of values in [0, 1], (H, W) or (H, W, 3), as the model wants it."""
        pixels = torch.from_numpy(np.array(image, dtype=np.float32))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)
        if len(pixels) == 1 and self.channels == 3:
            pixels = pixels.expand(3, -1, -1)
        elif len(pixels) == 3 and self.channels == 1:
            pixels = (pixels * torch.tensor(LUMA).view(3, 1, 1)).sum(0, keepdim=True)
        if tuple(pixels.shape[1:]) != self.size:
            pixels = interpolate(
                pixels[None], self.size, mode="bilinear", align_corners=False, antialias=True
            )[0]
        return (pixels - self.mean) / self.std


class EncodedImages(Encoded):
    """Images, prepared once where they fit in memory; a batch holds ``pixels`` and ``label``.

    Attributes:
        size: bytes of the prepared images that are kept, 0 where each batch makes its own.
    """

    def __init__(
        self,
        task: Task,
        split: Split,
        images: Images,
        heads: Heads,
        device: torch.device,
        room: int,
    ) -> None:
        self.split, self.images, self.device = split, images, device
        self.task = task
        self.ids = split.column("id")
        self.truncated = 0
        self.truths = [task.labels[label] for label in split.column("label")]
        self.size = 4 * len(split) * images.channels * images.size[0] * images.size[1]
        self._kept: Tensor | None = None
        if self.size <= room:
            self._kept = torch.empty(len(split), images.channels, *images.size)
            for k, example in enumerate(split):
                self._kept[k] = self._pixels(example.image, example.id)
        else:
            self.size = 0
        self.lengths = np.ones(len(self.ids), dtype=np.int64)
        self.numbers = torch.tensor([heads.number(truth) for truth in self.truths])

    def batch(self, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Return these images (B, C, H, W) on the backbone's device, and their labels' numbers."""
        chosen = [int(k) for k in indices]
        if self._kept is not None:
            pixels = self._kept[chosen]
        else:
            pixels = torch.stack([self._pixels(self.split[k].image, self.ids[k]) for k in chosen])
        return {"pixels": on_device(pixels, self.device), "label": self.numbers[chosen]}

    def _pixels(self, image: np.ndarray | None, name: str) -> Tensor:
        if image is None:
            raise InputError(f"example {name!r} of task {self.task.name!r} has no image.")
        return self.images.prepare(image)


@final
class Vision(Backbone):
    """A vision transformer under a growing classification head."""

    family = "vision"
    kinds = ("image-classification",)
    measures_perplexity = False

    def __init__(
        self,
        *,
        name: str,
        model: nn.Module,
        model_type: str,
        device: torch.device,
        width: int,
        images: Images,
    ) -> None:
        super().__init__(name=name, model=model, model_type=model_type, device=device, max_length=0)
        self.heads = Heads(width, device)
        self.images = images
        self._encoded: WeakSet[EncodedImages] = WeakSet()

    def begin_experience(self, candidates: Candidates, seed: int) -> None:
        """Grow the candidates' head; what it knew stays bit for bit."""
        self.heads.grow(candidates.head, candidates.labels, seed)

    def encode(self, task: Task, split: Split) -> Encoded:
        """Resize and normalise a split; see the module."""
        self.refuse_kind(task)
        room = KEPT_BYTES - sum(other.size for other in self._encoded)
        encoded = EncodedImages(task, split, self.images, self.heads, self.device, room)
        self._encoded.add(encoded)
        return encoded

    def answers(
        self,
        batch: dict[str, Tensor],
        candidates: Candidates | None,
        current_only: bool,
        known: Sequence[Candidates] = (),
    ) -> Answers:
        """Answer every example by the candidates' head."""
        return head_answers(
            self.heads, self.features(batch), batch["label"], candidates, current_only, known
        )

    def score(
        self,
        task: Task,
        encoded: Encoded,
        candidates: Candidates | None,
        batch_size: int,
        share: Share = WHOLE,
    ) -> list[Scored]:
        """Score every image by the candidates' head."""
        if not isinstance(encoded, EncodedImages):
            raise TypeError("score takes what this backbone's encode returned.")
        with evaluating(self):
            return score_heads(
                self.features,
                self.heads,
                task,
                encoded,
                encoded.truths,
                candidates,
                batch_size,
                share,
            )

    def corpus(
        self,
        documents: Sequence[str],
        *,
        window: int,
        stride: int,
        batch_size: int,
        share: Share = WHOLE,
    ) -> list[DocumentNats]:
        """Raise: a vision model reads no text."""
        raise self.no_corpus()

    def save_pretrained(self, directory: Path, state: dict[str, Tensor] | None = None) -> None:
        """Write the model and its image statistics, without heads."""
        with quiet():
            self.model.save_pretrained(directory, state_dict=state)
        statistics = dumps(self.images.statistics, indent=2, sort_keys=True)
        (Path(directory) / "preprocessor_config.json").write_text(statistics + "\n")

    def features(self, batch: dict[str, Tensor]) -> Tensor:
        """Return what the heads read of a batch: (B, d), the CLS token of every image."""
        weight = next(self.model.parameters())
        return self.model(pixel_values=batch["pixels"].to(weight.dtype)).last_hidden_state[:, 0]
