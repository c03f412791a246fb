"""A small Llama, its tokenizer and real Trainers, for the tests of what is recorded beside them."""

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from continual.scenario import Probe, RowsSource, Scenario
from tests.backbone.conftest import make_tokenizer
from tests.sequences import TOPICS, rows

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
TOKENIZER = make_tokenizer(SPECIAL)
QUICK = {"batch_size": 8, "probe_window": 32}


def scenario(tasks: int = 2, **options: Any) -> Scenario:
    """Return small tasks and a probe."""
    names = list(TOPICS)[:tasks]
    documents = [{"text": "The quick brown fox jumps over the lazy dog."}]
    return Scenario.from_lists(
        "small",
        [(name, rows(name, 16, 0), rows(name, 6, 1000)) for name in names],
        probes=[Probe(name="fox", source=RowsSource(rows=documents))],
        **options,
    )


def llama(dropout: float = 0.1) -> nn.Module:
    """Return a random Llama with dropout in its attention, always the same one."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=len(TOKENIZER),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=96,
        attention_dropout=dropout,
        bos_token_id=TOKENIZER.bos_token_id,
        eos_token_id=TOKENIZER.eos_token_id,
        pad_token_id=TOKENIZER.pad_token_id,
    )
    return transformers.LlamaForCausalLM(config)


def examples(topic: str) -> list[dict[str, Any]]:
    """Return a topic's training rows as a user would tokenize them."""
    texts = [f"{row['text']}\nAnswer: {row['label']}" for row in rows(topic, 16, 0)]
    encoded = TOKENIZER(texts, padding=True)
    return [
        {"input_ids": ids, "attention_mask": mask, "labels": ids}
        for ids, mask in zip(encoded["input_ids"], encoded["attention_mask"], strict=True)
    ]


def trainer(
    model: nn.Module,
    folder: Path,
    topic: str = "weather",
    callbacks: Any = (),
    kind: type = transformers.Trainer,
    **options: Any,
) -> transformers.Trainer:
    """Return a Trainer of four steps."""
    settings = {
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.01,
        "save_strategy": "no",
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return kind(
        model=model,
        args=transformers.TrainingArguments(output_dir=str(folder), **settings | options),
        train_dataset=examples(topic),
        processing_class=TOKENIZER,
        callbacks=list(callbacks),
    )
