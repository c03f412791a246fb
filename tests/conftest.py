"""What every test may use."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub

from hypothesis import settings

from continual._torchvision import ensure_torchvision

ensure_torchvision()
settings.register_profile("untimed", deadline=None)  # how fast is a question for benchmarks
settings.load_profile("untimed")
