"""Tiny random models of every family, saved once, with tokenizers trained on a few sentences."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from continual.backbone import Backbone, load_backbone
from continual.backbone.door import quiet
from continual.scenario import Candidates, RowsSource, Task

SENTENCES = [
    "The quick brown fox jumps over the lazy dog and sleeps.",
    "Shares fell sharply on Monday after the bank raised its rates.",
    "The team won the final match by two goals to one.",
    "A new telescope saw the oldest galaxy ever found.",
    "Topic: sports, business, science and world politics. Answer:",
]
LABELS = ("sports", "business", "science", "world politics")
SIZE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4}


def make_tokenizer(
    special: dict[str, str], around: str = ""
) -> transformers.PreTrainedTokenizerFast:
    """Train a byte-level BPE; ``around`` is a template such as ``<s> $A``."""
    names = list(dict.fromkeys(special.values()))
    inner = Tokenizer(models.BPE(unk_token=special.get("unk_token")))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=names, initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(SENTENCES, trainer)
    if around:
        ids = [(name, inner.token_to_id(name)) for name in names]
        inner.post_processor = processors.TemplateProcessing(single=around, special_tokens=ids)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def make_model(family: str, vocabulary: int) -> transformers.PreTrainedModel:
    """Build a random model with weights large enough that predictions differ."""
    torch.manual_seed(0)
    vocab = {"vocab_size": vocabulary}
    if family == "llama":
        config = transformers.LlamaConfig(
            **vocab,
            **SIZE,
            **HEADS,
            num_key_value_heads=2,
            max_position_embeddings=64,
            initializer_range=0.3,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        )
        return transformers.LlamaForCausalLM(config)
    if family == "gpt2":
        config = transformers.GPT2Config(
            **vocab,
            n_positions=64,
            n_embd=32,
            n_layer=2,
            n_head=4,
            initializer_range=0.3,
            bos_token_id=0,
            eos_token_id=0,
        )
        return transformers.GPT2LMHeadModel(config)
    if family == "t5":
        config = transformers.T5Config(
            **vocab,
            d_model=32,
            d_kv=8,
            d_ff=64,
            num_layers=2,
            num_heads=4,
            initializer_factor=2.0,
            decoder_start_token_id=0,
            pad_token_id=0,
            eos_token_id=1,
        )
        return transformers.T5ForConditionalGeneration(config)
    if family == "bert":
        return transformers.BertModel(
            transformers.BertConfig(
                **vocab, **SIZE, **HEADS, max_position_embeddings=64, initializer_range=0.3
            )
        )
    config = transformers.ViTConfig(
        **SIZE, **HEADS, image_size=8, patch_size=4, num_channels=1, initializer_range=0.3
    )
    return transformers.ViTModel(config)


SPECIAL = {
    "llama": (
        {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"},
        "<s> $A",
    ),
    "gpt2": ({"eos_token": "<|end|>", "bos_token": "<|end|>"}, ""),
    "t5": ({"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}, "$A </s>"),
    "bert": ({"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}, "[CLS] $A [SEP]"),
}


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the directory of a saved tiny model of that architecture."""
    root = tmp_path_factory.mktemp("models")

    def get(family: str) -> Path:
        path = root / family
        if path.is_dir():
            return path
        size = 0
        if family in SPECIAL:
            tokenizer = make_tokenizer(*SPECIAL[family])
            tokenizer.save_pretrained(path)
            size = len(tokenizer)
        with quiet():
            make_model(family, size).save_pretrained(path)
        if family == "vit":
            text = '{"image_mean": [0.3], "image_std": [0.2], "size": {"height": 8, "width": 8}}'
            (path / "preprocessor_config.json").write_text(text)
        return path

    return get


@pytest.fixture(scope="session")
def backbone(saved: Callable[[str], Path]) -> Callable[..., Backbone]:
    """Load a fresh backbone of that architecture, with the options of `load_backbone`."""

    def load(family: str, **options) -> Backbone:
        return load_backbone(str(saved(family)), **options)

    return load


ROWS = [
    {"text": "The team won the match.", "label": "sports"},
    {"text": "Shares fell.", "label": "business"},
    {"text": "A new telescope saw the oldest galaxy ever found on Monday.", "label": "science"},
    {"text": "The bank raised its rates and the lazy dog sleeps", "label": "world politics"},
    {"text": "Goals", "label": "sports"},
]


def text_task(rows=ROWS, **options) -> Task:
    """Make a text classification task of a few rows."""
    facts = {"name": "topics", "kind": "text-classification", "labels": LABELS}
    facts |= {"prompt": "{text}\nTopic:", "validation_fraction": 0.0} | options
    source = RowsSource(rows=rows)
    return Task(train=source, test=source, **facts)


def image_task(rows, **options) -> Task:
    """Make an image classification task."""
    facts = {"name": "images", "kind": "image-classification", "labels": ("a", "b", "c")}
    source = RowsSource(rows=rows)
    return Task(train=source, test=source, validation_fraction=0.0, **(facts | options))


def competing(task: Task, head: str = "topics") -> Candidates:
    """Return the task's own labels as candidates."""
    return Candidates(
        head=head,
        labels=task.labels,
        texts=task.verbalizers,
        current=tuple(range(len(task.labels))),
    )


@pytest.fixture(scope="session")
def grey_rows() -> list[dict]:
    """Five grey images of 8 x 8 pixels in three classes."""
    random = np.random.default_rng(0)
    return [
        {"image": random.random((8, 8)).astype("float32"), "label": "abcab"[k]} for k in range(5)
    ]
