"""transformers' own Trainer: what it forgets, recorded; and our methods inside it."""

from continual._torchvision import ensure_torchvision

ensure_torchvision()  # before transformers' classes, which ours are made from

from continual.interop.trainer.callback import ForgettingCallback  # noqa: E402
from continual.interop.trainer.steps import AdaptationCallback  # noqa: E402

__all__ = ["AdaptationCallback", "ForgettingCallback"]
