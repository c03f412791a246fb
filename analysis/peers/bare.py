"""The floor: a loop of plain PyTorch over tokens that lie ready, with LoRA in six lines."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from work import ALPHA, CLIP, RANK, RATE, Tasks, Work


class LoRA(nn.Module):
    """A frozen layer and one pair beside it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.A = nn.Parameter(torch.randn(RANK, base.in_features) / base.in_features**0.5)
        self.B = nn.Parameter(torch.zeros(base.out_features, RANK))

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's answer with the pair's."""
        return self.base(x) + (x @ self.A.T) @ self.B.T * (ALPHA / RANK)


def adapted(work: Work) -> tuple[nn.Module, list[nn.Parameter]]:
    """Return the model with fresh pairs, and what learns."""
    model = work.model()
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        parent, _, last = name.rpartition(".")
        if last in work.targets:
            setattr(model.get_submodule(parent), last, LoRA(module))
    if work.family == "encoder":
        model.classifier.requires_grad_(True)
    return model, [p for p in model.parameters() if p.requires_grad]


@torch.no_grad()
def renew(model: nn.Module) -> None:
    """Begin every pair anew."""
    for module in model.modules():
        if isinstance(module, LoRA):
            module.A.normal_(std=module.A.shape[1] ** -0.5)
            module.B.zero_()


def loss_of(model: nn.Module, ids: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of a batch: of every next token, or of the class."""
    logits = model(input_ids=ids).logits
    return cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


def labels_of(work: Work, ids: np.ndarray) -> Tensor:
    """Return what is to be said: the token after each one, or the class."""
    if work.family == "encoder":
        return torch.arange(len(ids)) % 2
    return torch.from_numpy(np.roll(ids, -1, axis=1))


def train(
    work: Work, texts: list[str], steps: int, folder: Path, learner: tuple | None = None
) -> list[float]:
    """Train; return the clock after every step."""
    del folder
    model, learning = learner or adapted(work)
    ids = torch.from_numpy(work.tokens(texts))
    labels = labels_of(work, ids.numpy())
    optimiser = torch.optim.AdamW(learning, lr=RATE)
    model.train()
    stamps = []
    for step in range(steps):
        chosen = torch.arange(step * work.batch, (step + 1) * work.batch) % len(ids)
        optimiser.zero_grad()
        loss_of(model, ids[chosen], labels[chosen]).backward()
        nn.utils.clip_grad_norm_(learning, CLIP)
        optimiser.step()
        stamps.append(time.perf_counter())
    return stamps


def tested(work: Work, texts: list[str]) -> tuple[Tensor, Tensor]:
    """Return texts as they are evaluated: tokens and what is to be said."""
    ids = torch.from_numpy(work.tokens(texts))
    return ids, labels_of(work, ids.numpy())


def evaluate(model: nn.Module, ids: Tensor, labels: Tensor) -> float:
    """Return the mean loss over texts."""
    model.eval()
    total = 0.0
    with torch.inference_mode():
        for k in range(0, len(ids), 32):
            total += float(loss_of(model, ids[k : k + 32], labels[k : k + 32])) * len(
                ids[k : k + 32]
            )
    return total / len(ids)


def sequence(work: Work, tasks: Tasks, steps: int, folder: Path) -> None:
    """Learn one task after another with a pair each; after each, test all so far with their own."""
    del folder
    kept: list[dict[str, Tensor]] = []
    tests = [tested(work, texts) for _, texts in tasks]
    model, learning = adapted(work)
    for train_texts, _ in tasks:
        renew(model)
        train(work, train_texts, steps, Path(), (model, learning))
        kept.append({n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad})
        for own, test in zip(kept, tests, strict=False):
            model.load_state_dict(own, strict=False)
            evaluate(model, *test)


def evaluation(work: Work, texts: list[str], folder: Path) -> Callable[[], object]:
    """Return what evaluates texts that are tokenized already."""
    del folder
    (model, _), test = adapted(work), tested(work, texts)
    return lambda: evaluate(model, *test)
