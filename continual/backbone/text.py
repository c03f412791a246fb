"""Text to token numbers, once: prompts, targets, the middle cut, ragged arrays, padding.

A *prompt* is the task's template around the text; it is tokenized as one string, between the
special tokens that the tokenizer itself puts around a text (for a causal model only those in
front). Where it is too long, tokens in the middle of the text are left out, as few as needed, the
same number of tokens kept on either side; every token that touches the template stays.

A *target* is a space and the answer, then the end token where the tokenizer has one. Training,
label ranking and generation all use this one convention: with the end token the answers "cat" and
"category" are different events, and generation knows when to stop. Tokenizers that themselves
write a space before a first word, and encoder-decoder models, get the answer without ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from continual.backbone.door import quiet
from continual.backbone.transfer import on_device
from continual.errors import InputError
from continual.scenario import Example, Task

HOLE = "\x00"  # stands where the text goes while a template is filled in
CHUNK = 1024  # texts tokenized at a time


@dataclass(frozen=True)
class Ragged:
    """Sequences of any length in one flat array: item k is ``flat[starts[k] : starts[k + 1]]``."""

    flat: np.ndarray  # (sum of lengths,) int32
    starts: np.ndarray  # (N + 1,) int64

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        """Pack lists of token numbers."""
        starts = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        parts = [np.asarray(row, dtype=np.int32) for row in rows]
        return cls(np.concatenate(parts) if parts else np.zeros(0, dtype=np.int32), starts)

    @property
    def lengths(self) -> np.ndarray:
        """The length of every item, (N,)."""
        return np.diff(self.starts)

    def pad(
        self, indices: Sequence[int] | np.ndarray, filler: int, side: str, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """Return ids and mask (1 where real), both (B, longest), padded on ``side``."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self._lengths(chosen)[:, None]
        width = int(lengths.max(initial=0))
        place = np.arange(width) - (width - lengths if side == "left" else np.zeros_like(lengths))
        mask = (place >= 0) & (place < lengths)
        ids = self.flat.take(self.starts[chosen, None] + place, mode="clip").astype(np.int64)
        ids[~mask] = filler
        return (
            on_device(torch.from_numpy(ids), device),
            on_device(torch.from_numpy(mask.astype(np.int64)), device),
        )

    def places(self, indices: Sequence[int] | np.ndarray, device: torch.device) -> Tensor:
        """Return where the tokens lie in what ``pad`` on the right gives, row behind row, (N,)."""
        lengths = self._lengths(np.asarray(indices, dtype=np.int64))
        mask = np.arange(int(lengths.max(initial=0))) < lengths[:, None]
        return on_device(torch.from_numpy(np.flatnonzero(mask)), device)

    def _lengths(self, chosen: np.ndarray) -> np.ndarray:
        return self.starts[chosen + 1] - self.starts[chosen]  # never of the whole split


class Codec:
    """What we need of a tokenizer: fixed conventions, found out once.

    Attributes:
        before: special tokens that it puts in front of a text.
        after: special tokens that it puts behind.
        start: the token that a first token is conditioned on: BOS, else EOS, else None.
        end: the token after an answer, or None.
        filler: a number to pad with; always masked, so any will do.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        plain = self.ids("a b")
        whole = list(tokenizer("a b").input_ids)
        places = [k for k in range(len(whole)) if whole[k : k + len(plain)] == plain]
        at = places[0] if places else 0
        self.before, self.after = whole[:at], whole[at + len(plain) :]
        self.end: int | None = tokenizer.eos_token_id
        self.start: int | None = tokenizer.bos_token_id
        if self.start is None:
            self.start = self.end
        pads = [tokenizer.pad_token_id, self.end, 0]
        self.filler: int = next(number for number in pads if number is not None)
        self.space = " " if self.ids("a") + self.ids(" b") == plain else ""

    def ids(self, text: str) -> list[int]:
        """Return the token numbers of a text, without special tokens around it."""
        return self.many([text])[0]

    def many(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the token numbers of many texts, without special tokens around them."""
        rows: list[list[int]] = []
        with quiet():
            for k in range(0, len(texts), CHUNK):
                part = list(texts[k : k + CHUNK])
                rows += self.tokenizer(part, add_special_tokens=False).input_ids
        return rows

    def pieces(self, text: str) -> list[str]:
        """Return what each token of a text stands for, as letters of that text where known.

        A token that is only a part of a letter's bytes has an empty piece but for the last one.
        """
        if not self.tokenizer.is_fast:
            return list(self.tokenizer.convert_ids_to_tokens(self.ids(text)))
        with quiet():
            found = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        pieces, done = [], 0
        for begin, end in found.offset_mapping:
            pieces.append(text[max(begin, done) : end])
            done = max(done, end)
        return pieces

    def targets(self, answers: Sequence[str], *, space: bool = True) -> list[list[int]]:
        """Return the token numbers that a model is to say for each answer."""
        lead = self.space if space else ""
        ending = [] if self.end is None else [self.end]
        distinct = list(dict.fromkeys(answers))
        rows = dict(zip(distinct, self.many([lead + a for a in distinct]), strict=True))
        return [rows[answer] + ending for answer in answers]

    def document_start(self) -> int:
        """Return the token that begins a document; an InputError where there is none."""
        if self.start is None:
            raise InputError(
                "this tokenizer has neither a BOS nor an EOS token to condition the first token of "
                "a document on; set bos_token in its tokenizer_config.json."
            )
        return self.start

    def decode(self, numbers: Sequence[int]) -> str:
        """Return the text of token numbers, without special tokens and without white space."""
        return self.tokenizer.decode(list(numbers), skip_special_tokens=True).strip()


def fill(prompt: str, example: Example) -> tuple[str, int, int]:
    r"""Return the filled-in template and where in it the (first) text begins and ends.

    >>> fill("{text}\nAnswer:", Example(id="0", text="Who?"))
    ('Who?\nAnswer:', 0, 4)
    """
    template = prompt.format(**{**example.fields, "text": HOLE})
    begin = template.find(HOLE)
    if begin < 0:
        return template, 0, 0
    return template.replace(HOLE, example.text), begin, begin + len(example.text)


def prompts(
    codec: Codec,
    task: Task,
    filled: Sequence[tuple[str, int, int]],
    room: Sequence[int],
    around: int,
) -> tuple[list[list[int]], int]:
    """Tokenize filled-in templates, cutting the middle of the text where one is too long.

    Args:
        codec: the tokenizer.
        task: names what does not fit.
        filled: of `fill`.
        room: tokens that each prompt may have, special tokens included.
        around: how many special tokens will be put around each.

    Returns:
        Token numbers without special tokens, and how many prompts were cut.
    """
    rows = codec.many([text for text, _, _ in filled])
    truncated = 0
    for k, row in enumerate(rows):
        if len(row) + around > room[k]:
            rows[k] = _cut_middle(codec, task, filled[k], room[k] - around)
            truncated += 1
    return rows, truncated


def _cut_middle(codec: Codec, task: Task, filled: tuple[str, int, int], room: int) -> list[int]:
    text, begin, end = filled
    with quiet():
        found = codec.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    row, spans = found.input_ids, found.offset_mapping
    inside = [k for k, (a, b) in enumerate(spans) if a < b and begin <= a and b <= end]
    keep = room - (len(row) - len(inside))
    if keep < 0:
        raise InputError(
            f"the prompt of task {task.name!r} has {len(row) - len(inside)} tokens without its "
            f"text, and only {max(room, 0)} fit before the answer; raise max_length or shorten the "
            "prompt or the answers."
        )
    head = (keep + 1) // 2
    dropped = set(inside[head : len(inside) - (keep - head)])
    return [number for k, number in enumerate(row) if k not in dropped]
