"""The contract of a backbone: a frozen pretrained network and the way it reads and is scored.

Laws, tested for every family:

1. *Sums*: `loss` and `score` return sums of nats with the number of things summed over, so that a
   caller can weigh by token or by example; nothing is averaged over a batch.
2. *Batching is invisible*: how examples are grouped and padded does not change their scores.
3. *Masks come from lengths*, never from the id of the padding token, which some tokenizers share
   with the unknown or the end token.
4. *Nothing is kept*: scoring runs in inference mode and lets go of its logits batch by batch.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from continual.backbone.door import hash_weights
from continual.backbone.heads import Heads
from continual.backbone.passes import WHOLE, Share
from continual.errors import InputError
from continual.scenario import Candidates, Split, Task


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The score of one example.

    Attributes:
        id: of the example; the k-th further window of a document is ``id#k``.
        prediction: the predicted class name or generated text; empty for language modeling.
        correct: 0 or 1; for language modeling the fraction of its tokens predicted right; for a
            graded score of written text that score, in [0, 1].
        nats: -log p of the truth, summed over its tokens (language models), or over the
            candidate classes (heads).
        tokens: how many tokens ``nats`` sums over; 1 with a head.
    """

    id: str
    prediction: str
    correct: float
    nats: float
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What the model says to a batch: one row per target token, or per example with a head.

    Attributes:
        logits: (N, C), float32, over the vocabulary or the competing classes.
        truth: (N,), the right column.
        beside: what was asked for beside, each (N, C').
    """

    logits: Tensor
    truth: Tensor
    beside: tuple[Tensor, ...] = ()

    def nats(self) -> Tensor:
        """Return the summed cross-entropy."""
        return cross_entropy(self.logits, self.truth, reduction="sum")


@dataclass(frozen=True, kw_only=True)
class DocumentNats:
    """-log p of one document in nats, over ``tokens`` tokens and ``bytes`` bytes of UTF-8.

    ``each`` is that of every token in order; their sum is ``nats``.
    """

    nats: float
    tokens: int
    bytes: int
    each: tuple[float, ...]


class Encoded(ABC):
    """A split made ready once, so that a batch is put together without tokenizing anything.

    Attributes:
        ids: the id of every item.
        lengths: (N,) tokens of every item, prompt and target together; 1 for images.
        truncated: how many items had the middle of their text cut out to fit.
    """

    ids: list[str]
    lengths: np.ndarray
    truncated: int

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def batch(self, indices: Sequence[int] | np.ndarray) -> dict[str, Tensor]:
        """Return these items padded to the longest of them, on the backbone's device."""


class Backbone(nn.Module, ABC):
    """A frozen pretrained network with its tokenizer or image statistics.

    Attributes:
        name: what the user called it.
        family: causal-lm, encoder-decoder, encoder or vision.
        model_type: the architecture's name in transformers, such as ``llama``.
        model: the transformers model; adapters attach to its layers.
        heads: growing output layers by name; empty for language models, whose labels are text.
        device: where it computes.
        sharded: whether every process holds a part of the weights, see `sharding`.
        max_length: longest input in tokens; 0 for images.
        kinds: the task kinds it can learn.
        measures_perplexity: whether `corpus` works.
        revision: the commit on the hub that it was loaded from, or None.
    """

    family: str
    kinds: tuple[str, ...]
    measures_perplexity: bool
    revision: str | None = None
    sharded: bool = False

    def __init__(
        self, *, name: str, model: nn.Module, model_type: str, device: torch.device, max_length: int
    ) -> None:
        super().__init__()
        self.name = name
        self.model: Any = model
        self.model_type = model_type
        self.device = device
        self.max_length = max_length
        self.heads = Heads(0)
        self._fingerprint = ""

    def fingerprint(self) -> str:
        """Return the hash of the base weights, taken when they were loaded.

        Of a model that somebody else trains: taken when this is first called.
        """
        self._fingerprint = self._fingerprint or hash_weights(self.model)
        return self._fingerprint

    @abstractmethod
    def begin_experience(self, candidates: Candidates, seed: int) -> None:
        """Let the output layer grow to the candidates; what it knew stays bit for bit."""

    @abstractmethod
    def encode(self, task: Task, split: Split) -> Encoded:
        """Tokenize (or remember) a split once.

        Raises:
            InputError: this family cannot learn the task's kind, or an example cannot fit.
        """

    @abstractmethod
    def answers(
        self,
        batch: dict[str, Tensor],
        candidates: Candidates | None,
        current_only: bool,
        known: Sequence[Candidates] = (),
    ) -> Answers:
        """Return what the model says to every target token or example, differentiable.

        Args:
            batch: of `Encoded.batch`.
            candidates: the competing classes; language models learn the target's text and need
                none.
            current_only: let only the classes of the current task compete (local cross-entropy).
            known: sets of classes that it is asked about beside, for distillation; a language model
                gives one answer for all of them, over its whole vocabulary.
        """

    def loss(
        self, batch: dict[str, Tensor], candidates: Candidates | None, current_only: bool
    ) -> tuple[Tensor, int]:
        """Return the differentiable sum of nats and what it sums over: target tokens or examples.

        Arguments as for `answers`.
        """
        said = self.answers(batch, candidates, current_only)
        return said.nats(), len(said.truth)

    @abstractmethod
    def score(
        self,
        task: Task,
        encoded: Encoded,
        candidates: Candidates | None,
        batch_size: int,
        share: Share = WHOLE,
    ) -> list[Scored]:
        """Score every item of a share in its own order, in inference mode and evaluation mode.

        Raises:
            InputError: a classification task without candidates, or a truth that is not among them.
        """

    @abstractmethod
    def corpus(
        self,
        documents: Sequence[str],
        *,
        window: int,
        stride: int,
        batch_size: int,
        share: Share = WHOLE,
    ) -> list[DocumentNats]:
        """Score every token of every document exactly once, in rolling windows.

        Of a share that is not the whole, tokens of other shares are NaN.

        Raises:
            InputError: this family assigns no probability to text, or a window that does not fit.
        """

    def pieces(self, document: str) -> list[str]:
        """Return the text of every token that ``corpus`` scores in a document, in order.

        Raises:
            InputError: this family assigns no probability to text.
        """
        raise self.no_corpus()

    @abstractmethod
    def save_pretrained(self, directory: Path, state: dict[str, Tensor] | None = None) -> None:
        """Write a directory that plain transformers loads.

        Args:
            directory: made where it is missing.
            state: complete weights under the base model's own names, for instance merged ones;
                None writes the model as it is.
        """

    def refuse_kind(self, task: Task) -> None:
        """Raise an InputError if this family cannot learn the kind of ``task``."""
        if task.kind not in self.kinds:
            raise InputError(
                f"backbone {self.name!r} is of the family {self.family!r} and cannot learn task "
                f"{task.name!r} of kind {task.kind!r}; it can learn {list(self.kinds)}. Choose "
                "another backbone or another kind."
            )

    def no_corpus(self) -> InputError:
        """Build the error of a family that assigns no probability to running text."""
        return InputError(
            f"backbone {self.name!r} is of the family {self.family!r}, which gives running text no "
            "probability, so it has no perplexity; probes need a causal language model."
        )
