"""Encoder-decoder language models: T5, BART and their like.

The encoder reads the prompt, the decoder says the answer after its own start token. The encoder
runs once per example, and so does the decoder's attention over it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from continual.backbone.base import Answers, Backbone, DocumentNats, Encoded, Scored
from continual.backbone.decoding import Reading
from continual.backbone.door import quiet
from continual.backbone.encoded import EncodedText, encode_answers
from continual.backbone.passes import WHOLE, Share, evaluating
from continual.backbone.scoring import score_ranked, spoken
from continual.backbone.text import Codec
from continual.backbone.written import score_generated
from continual.errors import InputError
from continual.scenario import WRITTEN, Candidates, Split, Task


@final
class EncoderDecoder(Backbone):
    """A language model that answers a text."""

    family = "encoder-decoder"
    kinds = ("text-classification", "text-generation")
    measures_perplexity = False

    def __init__(
        self,
        *,
        name: str,
        model: nn.Module,
        model_type: str,
        device: torch.device,
        max_length: int,
        start: int | None,
        tokenizer: Any,
    ) -> None:
        super().__init__(
            name=name, model=model, model_type=model_type, device=device, max_length=max_length
        )
        if start is None:
            raise InputError(
                f"the config of {name!r} has no decoder_start_token_id; set it in config.json."
            )
        self.start = start
        self.codec = Codec(tokenizer)

    def begin_experience(self, candidates: Candidates, seed: int) -> None:
        """Labels are text: nothing grows."""

    def encode(self, task: Task, split: Split) -> Encoded:
        """Tokenize a split once; ``max_length`` is the encoder's, the answer does not count."""
        self.refuse_kind(task)
        return encode_answers(
            self.codec,
            task,
            split,
            max_length=self.max_length,
            limit=None,
            separate=True,
            device=self.device,
        )

    def answers(
        self,
        batch: dict[str, Tensor],
        candidates: Candidates | None,
        current_only: bool,
        known: Sequence[Candidates] = (),
    ) -> Answers:
        """Answer every target token over the whole vocabulary; no class competes."""
        wanted = batch["target_ids"]
        begin = torch.full_like(wanted[:, :1], self.start)
        logits = self.model(
            input_ids=batch["prompt_ids"],
            attention_mask=batch["prompt_mask"],
            decoder_input_ids=torch.cat([begin, wanted[:, :-1]], dim=1),
            use_cache=False,
        ).logits
        return spoken(logits, batch, bool(known))

    def score(
        self,
        task: Task,
        encoded: Encoded,
        candidates: Candidates | None,
        batch_size: int,
        share: Share = WHOLE,
    ) -> list[Scored]:
        """Rank or generate, as ``task.score`` says."""
        if not isinstance(encoded, EncodedText):
            raise TypeError("score takes what this backbone's encode returned.")
        with evaluating(self):
            if task.score in WRITTEN:
                return score_generated(self._read, self.codec, task, encoded, batch_size, share)
            return score_ranked(
                self._read, self.codec, task, encoded, candidates, batch_size, None, False, share
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
        """Raise: the model gives answers a probability, not running text."""
        raise self.no_corpus()

    def save_pretrained(self, directory: Path, state: dict[str, Tensor] | None = None) -> None:
        """Write model and tokenizer; see `Backbone.save_pretrained`."""
        with quiet():
            self.model.save_pretrained(directory, state_dict=state)
            self.codec.tokenizer.save_pretrained(directory)

    def _read(self, batch: dict[str, Tensor]) -> Reading:
        prompt = batch["prompt_mask"]
        begin = torch.full_like(prompt[:, :1], self.start)
        out = self.model(
            input_ids=batch["prompt_ids"],
            attention_mask=prompt,
            decoder_input_ids=begin,
            use_cache=True,
        )
        hidden = out.encoder_last_hidden_state

        def extend(ids: Tensor, cache: Any, repeats: int, done: int) -> Tensor:
            return self.model(
                encoder_outputs=(hidden.repeat_interleave(repeats, dim=0),),
                attention_mask=prompt.repeat_interleave(repeats, dim=0),
                decoder_input_ids=ids,
                past_key_values=cache,
                use_cache=True,
            ).logits

        return Reading(out.logits[:, -1], out.past_key_values, extend)
