"""From this process' memory to a backbone's device."""

import torch
from torch import Tensor


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on a device; nobody waits until it has arrived.

    To a GPU the copy goes from pinned memory, which alone lets it run beside what both sides do.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
