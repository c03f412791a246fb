"""What every test may use."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub

from continual._torchvision import ensure_torchvision

ensure_torchvision()
