"""One of our vision backbones with its growing heads, as a model for Avalanche's strategies.

    Classifier        one head for all classes that have been trained
    TaskClassifier    one head per task label, among whose classes alone it answers

As Avalanche's own growing classifiers, they are told the classes of an experience before that is
trained or evaluated, have a column for every class id so far, and give a class that has not been
trained the logit -1000. A new class begins with the numbers that our loop would give it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from avalanche.models import MultiTaskModule
from avalanche.models.dynamic_modules import DynamicModule
from jaxtyping import Float
from torch import Tensor

from continual.backbone import Backbone
from continual.backbone.vision import Vision
from continual.errors import InputError
from continual.scenario.labels import SHARED

MASKED = -1000.0  # as avalanche.models.IncrementalClassifier
Pictures = Float[Tensor, "b c h w"]
Logits = Float[Tensor, "b classes"]


class Classifier(DynamicModule):
    """From pictures (B, 1 or 3, H, W) in [0, 1] to logits (B, C), one column per class id.

    Attach a method to ``backbone.model`` with ``heads=backbone.heads``.
    """

    def __init__(
        self, backbone: Backbone, *, class_names: Sequence[str] | None = None, seed: int = 0
    ) -> None:
        """Take over a backbone.

        Args:
            backbone: a vision transformer of ``load_backbone``.
            class_names: that were given to ``from_benchmark``; None names a class by its id.
            seed: of the first numbers of a class.

        Raises:
            InputError: a backbone that reads no pictures.
        """
        super().__init__()
        self.backbone = backbone
        self._columns = Columns(backbone, class_names, seed)

    def adaptation(self, experience: Any) -> None:
        """Grow for the classes of an experience; Avalanche calls it before training and testing."""
        self._columns.meet(experience, [SHARED] if self.training else [])

    def forward(self, x: Pictures) -> Logits:
        """Answer among all classes that have been trained."""
        return self._columns.logits(self._columns.features(x), SHARED, self.training)


class TaskClassifier(MultiTaskModule):
    """As ``Classifier``, with a head for every task label, by which it must be asked."""

    def __init__(
        self,
        backbone: Backbone,
        *,
        name: str = "task",
        class_names: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        """Take over a backbone.

        Args:
            backbone: a vision transformer of ``load_backbone``.
            name: that was given to ``from_benchmark``, whose tasks heads are named as.
            class_names: that were given to ``from_benchmark``; None names a class by its id.
            seed: of the first numbers of a class.

        Raises:
            InputError: a backbone that reads no pictures.
        """
        super().__init__()
        self.backbone, self._name = backbone, name
        self._columns = Columns(backbone, class_names, seed)

    def adaptation(self, experience: Any) -> None:
        """Grow for the classes of an experience; Avalanche calls it before training and testing.

        Raises:
            InputError: the experience has no task labels.
        """
        try:
            labels = sorted(set(experience.task_labels))
        except AttributeError:
            raise InputError(
                "a TaskClassifier has a head per task label, and the experience has none; make the "
                "benchmark with task_incremental_benchmark, or take a Classifier."
            ) from None
        self._columns.meet(experience, [self._head(k) for k in labels] if self.training else [])
        if self.training:
            self.known_train_tasks_labels |= set(labels)

    def forward(self, x: Pictures, task_labels: Tensor | None) -> Logits | dict[int, Tensor]:
        """Answer every picture by the head of its task label; without labels, by each head."""
        features = self._columns.features(x)
        if task_labels is None:
            known = sorted(self.known_train_tasks_labels)
            return {k: self._columns.logits(features, self._head(k), self.training) for k in known}
        labels = task_labels.unique().tolist()
        answers = [self._columns.logits(features, self._head(k), self.training) for k in labels]
        own = torch.stack([task_labels == k for k in labels])[:, :, None]
        return torch.where(own, torch.stack(answers), 0.0).sum(0)

    def _head(self, label: int) -> str:
        return f"{self._name}-{label + 1}"


class Columns:
    """Which head of a backbone answers for which class ids."""

    def __init__(self, backbone: Backbone, names: Sequence[str] | None, seed: int) -> None:
        if not isinstance(backbone, Vision):
            raise InputError(
                f"backbone {backbone.name!r} is of the family {backbone.family!r} and reads no "
                "pictures; for text give Avalanche a template and a model that tokenize, and "
                "attach a method to that model."
            )
        self._backbone, self._names, self._seed = backbone, names, seed
        self._classes: dict[str, list[int]] = {}  # head -> class ids in the order they came
        self._learned, self._asked = 0, 0  # class ids below these have been trained, evaluated

    def meet(self, experience: Any, growing: Sequence[str]) -> None:
        """Learn of an experience's classes, and let these heads grow for them."""
        try:
            ids = sorted(int(k) for k in experience.dataset.targets.uniques)
        except AttributeError:
            raise InputError(
                "the experience's data set has no 'targets', so its classes are not known; make it "
                "with avalanche.benchmarks.utils.as_classification_dataset."
            ) from None
        if not growing:
            self._asked = max(ids) + 1
            return
        self._learned = max(self._learned, max(ids) + 1)
        for head in growing:
            known = self._classes.setdefault(head, [])
            known += [k for k in ids if k not in known]
            self._backbone.heads.grow(head, self._called(known), self._seed)

    def features(self, x: Pictures) -> Float[Tensor, "b d"]:
        """Return what the heads read of every picture, resized and normalised by the backbone."""
        prepare = self._backbone.images.prepare
        pixels = torch.stack([prepare(one.movedim(0, -1).squeeze(-1).cpu().numpy()) for one in x])
        return self._backbone.features({"pixels": pixels.to(x.device)})

    def logits(self, features: Float[Tensor, "b d"], head: str, training: bool) -> Logits:
        """Return a head's answers in the columns of their class ids."""
        # Training masks no more than it must: a sum over more columns is rounded otherwise.
        width = self._learned if training else max(self._learned, self._asked)
        out = features.new_full((len(features), width), MASKED, dtype=torch.float32)
        if classes := self._classes.get(head):
            out[:, classes] = self._backbone.heads.logits(features, head, self._called(classes))
        return out

    def _called(self, classes: Sequence[int]) -> list[str]:
        if self._names is None:
            return [str(k) for k in classes]
        if missing := [k for k in classes if k >= len(self._names)]:
            raise InputError(
                f"class_names has {len(self._names)} names and none for the ids {missing}."
            )
        return [self._names[k] for k in classes]
