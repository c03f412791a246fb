"""What tiny-lm sees at each step: windows of packed documents, and in the end topic questions."""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from corpus import pretraining_documents, topic_questions
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from continual.scenario.stdlib import module_sources

PAD, BOS, EOS = 0, 1, 2
SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the trained weights depend on, apart from the text."""

    tokens: int = 12_288_000  # budget, windows of both lengths together
    batch: int = 2048  # tokens per step
    length: int = 256  # tokens per window
    long_length: int = 512  # tokens per window in the last part
    long_share: float = 0.1  # of the steps
    lr: float = 2e-3
    warm_up: int = 100  # steps
    decay_share: float = 0.3  # of the steps
    questions: int = 16  # topic questions per step, while the rate falls
    weight_decay: float = 0.1
    seed: int = 0

    @property
    def steps(self) -> int:
        """Steps of the whole budget."""
        return self.tokens // self.batch

    @property
    def first_question(self) -> int:
        """The step from which on questions are asked."""
        return self.steps - int(self.decay_share * self.steps)

    def rate(self, step: int) -> float:
        """Return the learning rate of a step (0-based)."""
        left = (self.steps - step) / (self.decay_share * self.steps)
        return self.lr * min((step + 1) / self.warm_up, 1.0, left)


def train_tokenizer(texts: list[str], vocabulary: int = 4096) -> Tokenizer:
    """Return a byte-level BPE tokenizer; the alphabet holds all 256 bytes, so it is lossless."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tokenise(work: Path) -> tuple[Tokenizer, list[np.ndarray]]:
    """Return the tokenizer (trained once, then read from `work`) and the documents as ids."""
    texts = [document["text"] for document in pretraining_documents()]
    path = work / "tokenizer.json"
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        train_tokenizer(texts).save(str(path) + ".new")
        os.replace(str(path) + ".new", path)
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True  # "<s>" inside a text is text
    encoded = tokenizer.encode_batch(texts, add_special_tokens=False)
    return tokenizer, [np.array([BOS, *line.ids, EOS], dtype=np.int16) for line in encoded]


class Batches:
    """Windows of packed documents; which ones is a pure function of (seed, step)."""

    def __init__(self, documents: list[np.ndarray], settings: Settings) -> None:
        self.documents = documents
        self.settings = settings
        self.epoch = lru_cache(maxsize=2)(self._epoch)

    def _epoch(self, epoch: int, length: int) -> np.ndarray:
        """Return the windows of one epoch: documents shuffled, packed, cut and shuffled again."""
        random = np.random.default_rng([self.settings.seed, epoch, length])
        order = random.permutation(len(self.documents))
        packed = np.concatenate([self.documents[i] for i in order])
        windows = packed[: len(packed) // length * length].reshape(-1, length)
        return random.permutation(windows)

    def __call__(self, step: int) -> torch.Tensor:
        """Return the token ids (windows, length) of one step."""
        s = self.settings
        first_long = s.steps - int(s.long_share * s.steps)
        length = s.length if step < first_long else s.long_length
        count = s.batch // length
        start = (step if step < first_long else step - first_long) * count
        rows = []
        for index in range(start, start + count):
            size = len(self.epoch(0, length))
            rows.append(self.epoch(index // size, length)[index % size])
        return torch.from_numpy(np.stack(rows).astype(np.int64))


class Questions:
    """Topic questions; which ones is a pure function of (seed, step)."""

    def __init__(self, tokenizer: Tokenizer, settings: Settings) -> None:
        self.settings = settings
        self.asked = [
            (self._ids(tokenizer, f"{q['text']}\nTopic:"), self._ids(tokenizer, f" {q['topic']}"))
            for q in topic_questions(module_sources("pretraining"))
        ]

    @staticmethod
    def _ids(tokenizer: Tokenizer, text: str) -> list[int]:
        return tokenizer.encode(text, add_special_tokens=False).ids

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Return ids (questions, length), padded, and labels (-100 where nothing is answered)."""
        s = self.settings
        if step < s.first_question:
            return None
        random = np.random.default_rng([s.seed, step])
        chosen = [self.asked[i] for i in random.choice(len(self.asked), s.questions, replace=False)]
        ids = torch.full((s.questions, 2 + max(len(q) + len(a) for q, a in chosen)), PAD)
        labels = torch.full_like(ids, -100)
        for row, (question, answer) in enumerate(chosen):
            line = torch.tensor([BOS, *question, *answer, EOS])
            ids[row, : len(line)] = line
            labels[row, 1 + len(question) : len(line)] = line[1 + len(question) :]
        return ids, labels
