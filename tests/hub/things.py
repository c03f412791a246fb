"""A tiny data set and a tiny model as the hub would hold them, and a scenario that uses them."""

import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

CARD = """---
configs:
- config_name: news
  default: true
  data_files:
  - {split: train, path: news/train.parquet}
  - {split: test, path: news/test.parquet}
- config_name: reviews
  data_files:
  - {split: train, path: reviews/train.parquet}
  - {split: test, path: reviews/test.parquet}
---
# Tiny
"""
WORDS = {"news": ("match goal team", "bank share rate"), "reviews": ("good film", "bad film")}
LABELS = {"news": ("sports", "business"), "reviews": ("pos", "neg")}


def rows(config: str, count: int, first: int = 0) -> list[dict[str, str]]:
    """Rows of two classes, told apart by their words."""
    return [
        {"text": f"{WORDS[config][k % 2]} number {k}", "label": LABELS[config][k % 2]}
        for k in range(first, first + count)
    ]


def parquet(lines: Sequence[dict[str, str]]) -> bytes:
    """The bytes of a parquet file."""
    import pyarrow
    from pyarrow import parquet as format_

    stream = io.BytesIO()
    format_.write_table(pyarrow.Table.from_pylist(list(lines)), stream)
    return stream.getvalue()


def jsonl(lines: Sequence[dict[str, str]]) -> bytes:
    """The bytes of a jsonl file."""
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@cache
def dataset_files(first: int = 0) -> dict[str, bytes]:
    """A card and two configurations; `first` shifts the rows of news."""
    return {
        "README.md": CARD.encode(),
        "news/train.parquet": parquet(rows("news", 16, first)),
        "news/test.parquet": parquet(rows("news", 8, 100)),
        "reviews/train.parquet": parquet(rows("reviews", 16)),
        "reviews/test.parquet": parquet(rows("reviews", 8, 100)),
    }


def model_files(folder: Path, *, shards: bool = False, pickled: bool = False) -> dict[str, bytes]:
    """A Llama of two layers with its tokenizer, as save_pretrained writes them."""
    import torch

    from tests.backbone.conftest import make_model, make_tokenizer

    tokenizer = make_tokenizer({"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"})
    model = make_model("llama", len(tokenizer))
    model.save_pretrained(folder, **({"max_shard_size": "40KB"} if shards else {}))
    tokenizer.save_pretrained(folder)
    if pickled:
        (folder / "model.safetensors").unlink()
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def scenario(path: Path, id: str = "org/tiny", **source: Any) -> str:
    """Write a scenario of one task; `source` are further keys of its sources."""
    import yaml

    sources = {part: {"hub": id, "split": part, **source} for part in ("train", "test")}
    config = source.get("config") or "news"
    task = {"name": "only", "kind": "text-classification", "labels": list(LABELS.get(config, "ab"))}
    content = {
        "name": path.stem,
        "setting": "task-incremental",
        "defaults": {"train": {"epochs": 1, "batch_size": 8}},
        "tasks": [task | sources],
    }
    path.write_text(yaml.safe_dump(content))
    return path.name
