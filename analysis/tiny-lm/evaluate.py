"""Measure tiny-lm on text that it never read, beside an n-gram model of the same training text.

    python analysis/tiny-lm/evaluate.py

Bits per byte = -log2 p(documents) / their bytes of UTF-8, over all held-out documents. tiny-lm
scores every token exactly once in windows of 256, the first of which begins with BOS; the end token
is not scored. The n-gram models (byte_ngram.py) are counted on the text that tiny-lm was trained
on and score the same bytes. Results go to results.json beside this file.

The last window of a document is filled up on the left with tokens that were scored before; they are
context only.
"""

import json
import math
import platform
from pathlib import Path

from byte_ngram import bits, train
from corpus import held_out_documents, pretraining_documents

from continual.backbone import EMBEDDED, load_backbone
from continual.backbone.causal_lm import CausalLM

HERE = Path(__file__).parent
WINDOW = 256  # tokens
ORDERS = (5, 7)  # bytes, the predicted one included
LONG_LINE = 40  # characters; shorter lines repeat by chance


def score_lm(backbone: CausalLM, texts: list[str]) -> dict[str, float]:
    """Return size and bits per byte of the texts under the language model."""
    scored = backbone.corpus(texts, window=WINDOW, stride=WINDOW, batch_size=16)
    size, tokens = sum(one.bytes for one in scored), sum(one.tokens for one in scored)
    nats = math.fsum(one.nats for one in scored)
    return {
        "documents": len(texts),
        "bytes": size,
        "tokens": tokens,
        "nats_per_token": round(nats / tokens, 4),
        "tiny-lm": round(nats / math.log(2) / size, 4),
    }


def repeated(texts: list[str], read: list[str]) -> float:
    """Return the share of the characters in long lines of `texts` whose line was read before."""
    known = {line.strip() for text in read for line in text.splitlines()}
    lines = [line.strip() for text in texts for line in text.splitlines()]
    long = [line for line in lines if len(line) >= LONG_LINE]
    return round(sum(len(line) for line in long if line in known) / sum(map(len, long)), 4)


def measure() -> dict:
    """Return everything that results.json holds."""
    backbone = load_backbone("tiny-lm")
    assert isinstance(backbone, CausalLM)
    read = [document["text"] for document in pretraining_documents()]
    pretraining = [text.encode() for text in read]
    held_out = {
        name: [document["text"] for document in documents]
        for name, documents in held_out_documents().items()
    }
    rows = {name: score_lm(backbone, texts) for name, texts in held_out.items()}
    for name, texts in held_out.items():
        rows[name]["repeated_lines"] = repeated(texts, read)
    for order in ORDERS:
        model = train(pretraining, order)
        for name, texts in held_out.items():
            found = bits(model, [text.encode() for text in texts]) / rows[name]["bytes"]
            rows[name][f"kneser-ney-{order}"] = round(found, 4)
    return {
        "unit": "bits per byte",
        "python": platform.python_version(),
        "window": WINDOW,
        "parameters": sum(p.numel() for p in backbone.model.parameters()),
        "training": json.loads((EMBEDDED["tiny-lm"] / "training.json").read_text()),
        "pretraining": {
            "documents": len(read),
            "bytes": sum(map(len, pretraining)),
            "tokens": sum(map(len, backbone.codec.many(read))),
        },
        "held_out": rows,
    }


def table(rows: dict[str, dict[str, float]]) -> str:
    """Return the held-out figures as a Markdown table."""
    columns = ["documents", "bytes", "tokens", "tiny-lm", *(f"kneser-ney-{k}" for k in ORDERS)]
    lines = ["| held out | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[key]:,}" for key in columns) + " |")
    return "\n".join(lines)


def main() -> None:
    results = measure()
    (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(table(results["held_out"]))


if __name__ == "__main__":
    main()
