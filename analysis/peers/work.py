"""The work that every system does: small random models, and texts of words drawn at random.

A language model reads documents of one length and predicts every word; an encoder says one of two
classes. Adapters are LoRA of rank 8 on the query and value projections, the optimiser is AdamW at
1e-3 with the gradient clipped to norm 1, in float32, without dropout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from continual._torchvision import ensure_torchvision

ensure_torchvision()  # before transformers looks for it
import transformers  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers, processors  # noqa: E402

RANK, ALPHA, RATE, CLIP = 8, 16, 1e-3, 1.0
TARGETS = {"causal-lm": ["q_proj", "v_proj"], "encoder": ["query", "value"]}
WORDS = 4096
LLAMAS = {"llama-2x64": 64, "llama-2x128": 128}
ENCODER = "encoder-6x384"

Tasks = list[tuple[list[str], list[str]]]  # texts to learn and to test on, task by task


@dataclass(frozen=True)
class Work:
    """One model and how it is fed.

    Attributes:
        name: of the model.
        folder: where model and tokenizer are saved.
        family: "causal-lm" or "encoder".
        batch: examples of an optimiser step.
        length: tokens of an example that go through the model.
    """

    name: str
    folder: Path
    family: str
    batch: int
    length: int

    @property
    def targets(self) -> list[str]:
        """The adapted layers."""
        return TARGETS[self.family]

    def model(self) -> Any:
        """Return a fresh copy of the model."""
        kinds = {
            "causal-lm": transformers.AutoModelForCausalLM,
            "encoder": transformers.AutoModelForSequenceClassification,
        }
        more = {"num_labels": 2} if self.family == "encoder" else {}
        torch.manual_seed(0)
        model = kinds[self.family].from_pretrained(self.folder, **more)
        model.config.use_cache = False  # keys and values of a training step are of no use later
        return model

    def tokens(self, texts: Sequence[str]) -> np.ndarray:
        """Return the token numbers of texts of one length, (N, length)."""
        tokenizer = _tokenizer_in(self.folder)
        return np.array([row[: self.length] for row in tokenizer(list(texts)).input_ids])


def cold() -> None:
    """Forget tokenizers, so that everybody loads them again."""
    _tokenizer_in.cache_clear()


@lru_cache
def _tokenizer_in(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder)


def make_work(name: str, root: Path) -> Work:
    """Save a random model and its tokenizer below ``root``, once, and return the work with it."""
    folder = root / name
    encoder = name == ENCODER
    if not folder.exists():
        torch.manual_seed(0)
        model = _encoder() if encoder else _llama(LLAMAS[name])
        model.save_pretrained(folder)
        _tokenizer(encoder).save_pretrained(folder)
    if encoder:
        return Work(name, folder, "encoder", batch=16, length=64)
    return Work(name, folder, "causal-lm", batch=8, length=32)


def texts(work: Work, count: int, seed: int, lengths: tuple[int, int] | None = None) -> list[str]:
    """Return texts of words; all fill the model's length unless a range of word counts is given."""
    rng = np.random.default_rng(seed)
    around = 2 if work.family == "encoder" else 0
    own = work.length - around
    low, high = lengths or (own, own)
    return [
        " ".join(f"w{k}" for k in rng.integers(0, WORDS, rng.integers(low, high + 1)))
        for _ in range(count)
    ]


def _llama(width: int) -> transformers.PreTrainedModel:
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=WORDS + 4,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
    )


def _encoder() -> transformers.PreTrainedModel:
    return transformers.BertModel(
        transformers.BertConfig(
            vocab_size=30522,
            hidden_size=384,
            num_hidden_layers=6,
            num_attention_heads=12,
            intermediate_size=1536,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    )


def _tokenizer(encoder: bool) -> transformers.PreTrainedTokenizerFast:
    """One token per word; a language model's texts begin with <s>, an encoder's lie between two."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = [*special, *(f"w{k}" for k in range(WORDS))]
    inner = Tokenizer(models.WordLevel({w: k for k, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    around = "<s> $A </s>" if encoder else "<s> $A"
    inner.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if encoder:
        names |= {"cls_token": "<s>", "sep_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **names)
