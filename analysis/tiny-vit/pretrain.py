"""Pretrain the embedded vision transformer on glyphs: letters and symbols, never digits.

    python analysis/tiny-vit/pretrain.py --work /tmp/tiny-vit \
        --out continual/backbone/embedded/tiny-vit

The images are drawn by glyphs.py and distorted anew at every step; which glyphs and which
distortions is a function of (seed, step). The network learns to tell the characters apart through
a cosine classifier on its CLS token, which is then thrown away. A run that was stopped, even
killed, continues from its last checkpoint with the same command.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from glyphs import Glyphs, all_glyphs, augment
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize

from continual._torchvision import ensure_torchvision

SIDE = 16  # pixels that the network sees
MEAN, STD = 0.3, 0.35  # of the drawn images, for (x - mean) / std
LR, WARM_UP, WEIGHT_DECAY, CLIP = 2e-3, 100, 0.05, 1.0
TEMPERATURE = 12.0  # cosines are multiplied by this
CHECKPOINT_STEPS, LOG_STEPS = 100, 50


class Classifier(nn.Module):
    """The network to keep, and the cosine classifier on its CLS token to throw away."""

    def __init__(self, vit: nn.Module, width: int, classes: int) -> None:
        """Draw the class vectors."""
        super().__init__()
        self.vit = vit
        self.classes = nn.Parameter(torch.randn(classes, width))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return scaled cosines (n, classes) of images (n, 1, 16, 16)."""
        cls = self.vit(pixel_values=pixels).last_hidden_state[:, 0]
        return TEMPERATURE * normalize(cls) @ normalize(self.classes).T


def new_vit() -> Any:
    """Return the untrained network, a ViTModel without pooler."""
    ensure_torchvision()
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        image_size=SIDE,
        patch_size=4,
        num_channels=1,
        hidden_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=192,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return ViTModel(config, add_pooling_layer=False)


def pixels_of(images: Tensor) -> Tensor:
    """Return images (n, 8, 8) in [0, 1] as the network sees them, (n, 1, 16, 16)."""
    large = interpolate(images[:, None], (SIDE, SIDE), mode="bilinear", antialias=True)
    return (large - MEAN) / STD


def batch(glyphs: Glyphs, pool: Tensor, seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
    """Return the pixels and labels of one step."""
    random = torch.Generator().manual_seed(seed * 1_000_003 + step)
    chosen = pool[torch.randint(len(pool), (size,), generator=random)]
    return pixels_of(augment(glyphs.masks[chosen], random)), glyphs.labels[chosen]


def save_checkpoint(work: Path, model: nn.Module, optimiser: Any, step: int) -> None:
    """Write weights, moments and position under a new name, then rename."""
    tensors = {f"model|{n}": t for n, t in model.state_dict().items()}
    for index, (_, parameter) in enumerate(model.named_parameters()):
        for name, value in optimiser.state[parameter].items():
            tensors[f"moment|{index}|{name}"] = value
    tensors["step"] = torch.tensor(step)
    save_file({n: t.contiguous() for n, t in tensors.items()}, work / "checkpoint.new")
    with (work / "checkpoint.new").open("rb") as file:
        os.fsync(file.fileno())
    (work / "checkpoint.new").replace(work / "checkpoint.safetensors")


def load_checkpoint(work: Path, model: nn.Module, optimiser: Any) -> int:
    """Put back what was saved, if anything was; return the step to go on with."""
    path = work / "checkpoint.safetensors"
    if not path.exists():
        return 0
    tensors = load_file(path)
    kept = {n[6:]: t for n, t in tensors.items() if n.startswith("model|")}
    model.load_state_dict(kept)
    parameters = [parameter for _, parameter in model.named_parameters()]
    for key, value in tensors.items():
        if key.startswith("moment|"):
            _, index, name = key.split("|")
            optimiser.state[parameters[int(index)]][name] = value
    return int(tensors["step"])


def rate(step: int, steps: int) -> float:
    """Return the learning rate: linear warm-up, then a cosine to zero."""
    if step < WARM_UP:
        return LR * (step + 1) / WARM_UP
    return LR * 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / (steps - WARM_UP)))


def train(given: argparse.Namespace) -> tuple[Classifier, Glyphs]:
    """Train, or go on training, for the steps asked for."""
    glyphs = all_glyphs()
    pool = (~glyphs.held_out).nonzero()[:, 0]
    torch.manual_seed(given.seed)
    vit = new_vit()
    model = Classifier(vit, vit.config.hidden_size, len(glyphs.classes))
    optimiser = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    given.work.mkdir(parents=True, exist_ok=True)
    began, first = time.monotonic(), load_checkpoint(given.work, model, optimiser)
    for step in range(first, given.steps):
        for group in optimiser.param_groups:
            group["lr"] = rate(step, given.steps)
        pixels, labels = batch(glyphs, pool, given.seed, step, given.batch_size)
        loss = cross_entropy(model(pixels), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        if (step + 1) % LOG_STEPS == 0:
            seconds = time.monotonic() - began
            print(f"step {step + 1}/{given.steps} loss {loss:.3f} {seconds:.0f} s", flush=True)
        if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == given.steps:
            save_checkpoint(given.work, model, optimiser, step + 1)
    return model, glyphs


def held_out_accuracy(model: Classifier, glyphs: Glyphs) -> float:
    """Return the accuracy on distorted glyphs of the fonts that were never trained on."""
    pool, right, count = glyphs.held_out.nonzero()[:, 0], 0, 0
    with torch.inference_mode():
        for step in range(8):
            pixels, labels = batch(glyphs, pool, 10**6, step, 256)
            right += int((model.eval()(pixels).argmax(-1) == labels).sum())
            count += len(labels)
    return right / count


def export(model: Classifier, out: Path) -> None:
    """Write the network alone, in float16, as a directory that transformers loads."""
    out.mkdir(parents=True, exist_ok=True)
    model.vit.half().save_pretrained(out)
    statistics = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": SIDE, "width": SIDE},
        "do_rescale": False,
        "do_normalize": True,
        "image_mean": [MEAN],
        "image_std": [STD],
    }
    (out / "preprocessor_config.json").write_text(json.dumps(statistics, indent=1) + "\n")
    for path in out.iterdir():
        path.chmod(0o644)


def main() -> None:
    """Parse, train, export."""
    parser = argparse.ArgumentParser(description="Pretrain tiny-vit on glyphs.")
    parser.add_argument("--work", type=Path, required=True, help="checkpoints go here")
    parser.add_argument("--out", type=Path, required=True, help="the embedded model goes here")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    model, glyphs = train(given)
    accuracy = held_out_accuracy(model, glyphs)
    print(f"{len(glyphs.classes)} classes; accuracy on held-out fonts {accuracy:.3f}")
    export(model, given.out)
    facts = {
        "steps": given.steps,
        "images": given.steps * given.batch_size,
        "classes": len(glyphs.classes),
        "held_out_font_accuracy": round(accuracy, 4),
    }
    (given.work / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
