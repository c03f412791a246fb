"""Output layers that grow as classes arrive.

A head is W (C, d), one row per class, and a bias (C,). Growing appends rows; the rows that were
there stay bit for bit. A new row is drawn from N(0, 0.02²) with a generator seeded by
(seed, head, label) alone, so it does not depend on when its class arrives or beside which others;
biases start at 0. Heads compute in float32 whatever the backbone's dtype is.
"""

from collections.abc import Sequence
from hashlib import sha256
from urllib.parse import quote

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from continual.backbone.transfer import on_device
from continual.errors import InputError
from continual.scenario import Candidates

INITIAL_STD = 0.02


def initial_row(seed: int, head: str, label: str, width: int) -> Float[Tensor, " d"]:
    """Return the first weights of a class: a pure function of its arguments."""
    digest = sha256(f"{seed}\x1f{head}\x1f{label}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    return torch.randn(width, generator=generator) * INITIAL_STD


class Head(nn.Module):
    """One output layer: ``labels[k]`` is scored by row k."""

    def __init__(self, width: int, device: torch.device) -> None:
        super().__init__()
        self.labels: list[str] = []
        self.weight = nn.Parameter(torch.empty(0, width, device=device))
        self.bias = nn.Parameter(torch.empty(0, device=device))

    def append(self, labels: Sequence[str], rows: Float[Tensor, "c d"]) -> None:
        """Add classes behind the known ones."""
        self.labels += labels
        zeros = torch.zeros(len(labels), device=self.bias.device)
        self.weight = nn.Parameter(torch.cat([self.weight.detach(), rows]))
        self.bias = nn.Parameter(torch.cat([self.bias.detach(), zeros]))


class Heads(nn.Module):
    """Heads by name over features of one width.

    A label never seen is scored with its initial row and is not kept: that is what an untrained
    head says, and what b[j] is measured with.
    """

    def __init__(self, width: int, device: torch.device | None = None) -> None:
        super().__init__()
        self.width = width
        self.seed = 0
        self.device = device or torch.device("cpu")
        self._names: dict[str, str] = {}
        self._numbers: dict[str, int] = {}

    def named(self, head: str) -> Head | None:
        """Return the head of that name, or None before it has begun."""
        module = self._modules.get(self._names.get(head, ""))
        return module if isinstance(module, Head) else None

    def grow(self, head: str, labels: Sequence[str], seed: int) -> None:
        """Give ``head`` a row for every label that it does not have yet."""
        self.seed = seed
        found = self.named(head)
        if found is None:
            found = Head(self.width, self.device)
            key = "head_" + quote(head, safe="").replace(".", "%2E")
            self._names[head] = key
            self.add_module(key, found)
        new = [label for label in labels if label not in found.labels]
        if new:
            found.append(new, self._fresh(head, new))

    def number(self, label: str) -> int:
        """Return this process' number of a label; batches carry it instead of the string."""
        return self._numbers.setdefault(label, len(self._numbers))

    def logits(
        self, features: Float[Tensor, "b d"], head: str, labels: Sequence[str]
    ) -> Float[Tensor, "b c"]:
        """Return float32 scores of ``labels``, in their order."""
        weight, bias, known = self._rows(head, labels)
        if known != list(labels):
            place = {label: k for k, label in enumerate(known)}
            order = on_device(torch.tensor([place[label] for label in labels]), weight.device)
            weight, bias = weight[order], bias[order]
        return linear(features.float(), weight, bias).float()

    def columns(self, numbers: Int[Tensor, " b"], candidates: Candidates) -> Int[Tensor, " b"]:
        """Return the candidate index of every label number, on the heads' device.

        The numbers lie in this process' memory, where they are looked up.

        Raises:
            InputError: a label that is not among the candidates.
        """
        known = torch.tensor([self.number(label) for label in candidates.labels])
        table = torch.full((len(self._numbers),), -1)
        table[known] = torch.arange(len(known))
        found = table[numbers]
        if (found.numpy() < 0).any():
            names = {number: label for label, number in self._numbers.items()}
            missing = sorted({names[int(n)] for n in numbers[found < 0]})
            raise InputError(
                f"the labels {missing} are not among the candidates {list(candidates.labels)} of "
                f"head {candidates.head!r}; take the candidates of an experience that has them."
            )
        return on_device(found, self.device)

    def _rows(self, head: str, labels: Sequence[str]) -> tuple[Tensor, Tensor, list[str]]:
        """Return weights, biases and names of the head's rows, then of labels it does not have."""
        found = self.named(head) or Head(self.width, self.device)
        missing = [label for label in labels if label not in found.labels]
        if not missing:
            return found.weight, found.bias, found.labels
        weight = torch.cat([found.weight, self._fresh(head, missing)])
        bias = torch.cat([found.bias, torch.zeros(len(missing), device=self.device)])
        return weight, bias, found.labels + missing

    def _fresh(self, head: str, labels: Sequence[str]) -> Float[Tensor, "c d"]:
        rows = [initial_row(self.seed, head, label, self.width) for label in labels]
        return torch.stack(rows).to(self.device)
