"""Texts under a head of ours: BERT, RoBERTa, DeBERTa and their like, and causal language models.

The feature of a text is the mean of the last hidden states over its tokens, special tokens
included and padding not. It needs no pooling layer, which many checkpoints lack or never trained;
a pooler that the model has is taken off, so no adapter is attached to it.

A causal language model may be asked through heads too (``backbone.heads``), as in the CURLoRA
paper: the feature is then its last token's hidden state, and it still reads running text with its
own output layer, so that its perplexity can be watched.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from continual.backbone.base import Answers, Backbone, DocumentNats, Encoded, Scored
from continual.backbone.causal_lm import CausalLM
from continual.backbone.door import quiet
from continual.backbone.encoded import EncodedText, encode_texts
from continual.backbone.heads import Heads
from continual.backbone.passes import WHOLE, Share, evaluating
from continual.backbone.scoring import head_answers, score_heads
from continual.backbone.text import Codec
from continual.errors import InputError
from continual.scenario import WRITTEN, Candidates, Split, Task


@final
class Encoder(Backbone):
    """A text encoder, or a language model, under a growing classification head."""

    kinds = ("text-classification",)

    def __init__(
        self,
        *,
        name: str,
        model: nn.Module,
        model_type: str,
        device: torch.device,
        max_length: int,
        width: int,
        tokenizer: Any,
        speaker: CausalLM | None = None,
    ) -> None:
        super().__init__(
            name=name, model=model, model_type=model_type, device=device, max_length=max_length
        )
        self.codec = Codec(tokenizer)
        self.heads = Heads(width, device)
        self.speaker = speaker
        self.family = "encoder" if speaker is None else "causal-lm with heads"
        self.measures_perplexity = speaker is not None

    def begin_experience(self, candidates: Candidates, seed: int) -> None:
        """Grow the candidates' head; what it knew stays bit for bit."""
        self.heads.grow(candidates.head, candidates.labels, seed)

    def encode(self, task: Task, split: Split) -> Encoded:
        """Tokenize a split once; see `encode_texts`."""
        self.refuse_kind(task)
        if task.score in WRITTEN:
            raise InputError(
                f"task {task.name!r} wants free text ({task.score}) and backbone "
                f"{self.name!r} is an encoder with a head; use score: accuracy, or another model."
            )
        return encode_texts(
            self.codec,
            task,
            split,
            max_length=self.max_length,
            number=self.heads.number,
            device=self.device,
        )

    def answers(
        self,
        batch: dict[str, Tensor],
        candidates: Candidates | None,
        current_only: bool,
        known: Sequence[Candidates] = (),
    ) -> Answers:
        """Answer every example by the candidates' head."""
        return head_answers(
            self.heads, self._features(batch), batch["label"], candidates, current_only, known
        )

    def score(
        self,
        task: Task,
        encoded: Encoded,
        candidates: Candidates | None,
        batch_size: int,
        share: Share = WHOLE,
    ) -> list[Scored]:
        """Score every text by the candidates' head."""
        if not isinstance(encoded, EncodedText):
            raise TypeError("score takes what this backbone's encode returned.")
        with evaluating(self):
            return score_heads(
                self._features,
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
        """Score running text by the language model's own output layer; an encoder has none."""
        if self.speaker is None:
            raise self.no_corpus()
        return self.speaker.corpus(
            documents, window=window, stride=stride, batch_size=batch_size, share=share
        )

    def pieces(self, document: str) -> list[str]:
        """Return the language model's tokens of a document."""
        return super().pieces(document) if self.speaker is None else self.speaker.pieces(document)

    def save_pretrained(self, directory: Path, state: dict[str, Tensor] | None = None) -> None:
        """Write model and tokenizer, without heads; see `Backbone.save_pretrained`."""
        with quiet():
            self.model.save_pretrained(directory, state_dict=state)
            self.codec.tokenizer.save_pretrained(directory)

    def _features(self, batch: dict[str, Tensor]) -> Tensor:
        mask = batch["prompt_mask"]
        hidden = self.model.base_model(
            input_ids=batch["prompt_ids"], attention_mask=mask
        ).last_hidden_state.float()
        if self.speaker is not None:
            return hidden[torch.arange(len(mask), device=mask.device), mask.sum(1) - 1]
        weight = mask.to(hidden.dtype)[..., None]
        return (hidden * weight).sum(1) / weight.sum(1)
