"""Causal language models: Llama, GPT-2, Qwen, Mistral and their like.

Prompts are padded on the left and answers on the right, so the answers of a batch begin in one
column and the vocabulary is projected on from there only. Positions are counted by the mask.
"""

from collections.abc import Sequence
from inspect import signature
from math import fsum, nan
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn

from continual.backbone.base import Answers, Backbone, DocumentNats, Encoded, Scored
from continual.backbone.decoding import Reading, token_nats
from continual.backbone.door import quiet
from continual.backbone.encoded import EncodedText, encode_answers, encode_documents
from continual.backbone.passes import WHOLE, Share, by_length, evaluating
from continual.backbone.scoring import score_ranked, score_tokens, spoken
from continual.backbone.text import Codec, Ragged
from continual.backbone.windows import check_window, rolling
from continual.backbone.written import score_generated
from continual.errors import InputError
from continual.scenario import WRITTEN, Candidates, Split, Task


@final
class CausalLM(Backbone):
    """A language model that continues a prompt."""

    family = "causal-lm"
    kinds = ("text-classification", "text-generation", "language-modeling")
    measures_perplexity = True

    def __init__(
        self,
        *,
        name: str,
        model: nn.Module,
        model_type: str,
        device: torch.device,
        max_length: int,
        limit: int | None,
        tokenizer: Any,
    ) -> None:
        super().__init__(
            name=name, model=model, model_type=model_type, device=device, max_length=max_length
        )
        self.codec = Codec(tokenizer)
        self.limit = limit
        self._accepted = frozenset(signature(model.forward).parameters)
        if "past_key_values" not in self._accepted:
            raise InputError(
                f"backbone {name!r} ({model_type}) keeps no keys and values, so a prompt cannot be "
                "read once and shared between answers; choose a model with attention."
            )

    def begin_experience(self, candidates: Candidates, seed: int) -> None:
        """Labels are text: nothing grows."""

    def encode(self, task: Task, split: Split) -> Encoded:
        """Tokenize a split once; see `Backbone.encode`."""
        self.refuse_kind(task)
        if task.kind == "language-modeling":
            return encode_documents(
                self.codec, task, split, max_length=self.max_length, device=self.device
            )
        return encode_answers(
            self.codec,
            task,
            split,
            max_length=self.max_length,
            limit=self.limit,
            separate=False,
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
        return spoken(self._predict(batch), batch, bool(known))

    def score(
        self,
        task: Task,
        encoded: Encoded,
        candidates: Candidates | None,
        batch_size: int,
        share: Share = WHOLE,
    ) -> list[Scored]:
        """Rank, generate or predict token by token, as ``task.score`` says."""
        if not isinstance(encoded, EncodedText):
            raise TypeError("score takes what this backbone's encode returned.")
        with evaluating(self):
            if task.kind == "language-modeling":
                return score_tokens(self._predict, encoded, batch_size, share)
            if task.score in WRITTEN:
                return score_generated(self._read, self.codec, task, encoded, batch_size, share)
            return score_ranked(
                self._read,
                self.codec,
                task,
                encoded,
                candidates,
                batch_size,
                self.limit,
                True,
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
        """Score every token of every document once, in the windows of `windows.rolling`."""
        check_window(window, stride, self.limit)
        start = self.codec.document_start()
        rows = self.codec.many(documents)
        owners, contexts, targets = [], [], []
        for owner, row in enumerate(rows):
            tokens = [start, *row]
            for begin, first, end in rolling(len(row), window, stride):
                owners.append(owner)
                contexts.append(tokens[begin + 1 : first + 1])
                targets.append(tokens[first + 1 : end + 1])
        nats = self._window_nats(Ragged.of(contexts), Ragged.of(targets), batch_size, share)
        shares: list[list[float]] = [[] for _ in rows]
        for owner, costs in zip(owners, nats, strict=True):
            shares[owner] += costs
        return [
            DocumentNats(
                nats=fsum(share),
                tokens=len(row),
                bytes=len(document.encode()),
                each=tuple(share),
            )
            for share, row, document in zip(shares, rows, documents, strict=True)
        ]

    def pieces(self, document: str) -> list[str]:
        """Return the text of every token of a document, in order."""
        return self.codec.pieces(document)

    def save_pretrained(self, directory: Path, state: dict[str, Tensor] | None = None) -> None:
        """Write model and tokenizer; see `Backbone.save_pretrained`."""
        with quiet():
            self.model.save_pretrained(directory, state_dict=state)
            self.codec.tokenizer.save_pretrained(directory)

    def _window_nats(
        self, contexts: Ragged, targets: Ragged, batch_size: int, share: Share
    ) -> list[list[float]]:
        """Return the nats of every target token, window by window; NaN outside the share."""
        nats = [[nan] * int(length) for length in targets.lengths]
        filler, device = self.codec.filler, self.device
        with evaluating(self):
            for chosen in by_length(targets.lengths * 2**20 - contexts.lengths, batch_size, share):
                ids, mask = contexts.pad(chosen, filler, "left", device)
                wanted, real = targets.pad(chosen, filler, "right", device)
                logits = self._predict(
                    {"prompt_ids": ids, "prompt_mask": mask}
                    | {"target_ids": wanted, "target_mask": real}
                )
                costs = token_nats(logits, wanted).double().tolist()
                for item, row in zip(chosen.tolist(), costs, strict=True):
                    nats[item] = row[: int(targets.lengths[item])]
        return nats

    def _predict(self, batch: dict[str, Tensor]) -> Tensor:
        """Return the logits (B, T, V) of every target token.

        A target's last token predicts nothing, so it is masked like the padding behind it.
        """
        ids = torch.cat([batch["prompt_ids"], batch["target_ids"][:, :-1]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["target_mask"][:, 1:]], dim=1)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        return self._forward(ids, mask, positions, batch["target_ids"].shape[1], None).logits

    def _read(self, batch: dict[str, Tensor]) -> Reading:
        prompt = batch["prompt_mask"]
        lengths = prompt.sum(-1, keepdim=True)
        out = self._forward(
            batch["prompt_ids"], prompt, (prompt.cumsum(-1) - 1).clamp(min=0), 1, new_cache(self)
        )

        def extend(ids: Tensor, cache: Any, repeats: int, done: int) -> Tensor:
            steps = torch.arange(done + ids.shape[1], device=ids.device)
            spoken = torch.ones(len(ids), len(steps), dtype=prompt.dtype, device=ids.device)
            mask = torch.cat([prompt.repeat_interleave(repeats, dim=0), spoken], dim=1)
            positions = lengths.repeat_interleave(repeats, dim=0) + steps[done:]
            if self.limit is not None:  # only padding, or an answer already too long, is beyond
                positions = positions.clamp(max=self.limit - 1)
            return self._forward(ids, mask, positions, ids.shape[1], cache).logits

        return Reading(out.logits[:, -1], out.past_key_values, extend)

    def _forward(self, ids: Tensor, mask: Tensor, positions: Tensor, keep: int, cache: Any) -> Any:
        options = {"position_ids": positions, "logits_to_keep": keep, "past_key_values": cache}
        options = {key: value for key, value in options.items() if key in self._accepted}
        out = self.model(input_ids=ids, attention_mask=mask, use_cache=cache is not None, **options)
        out.logits = out.logits[:, -keep:]
        return out


def new_cache(backbone: CausalLM) -> Any:
    """Return an empty cache of the kind that the backbone's layers want."""
    from transformers import DynamicCache

    return DynamicCache(config=backbone.model.config)
