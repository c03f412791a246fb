"""Pretrain tiny-lm: a small Llama on CPython's own text, on a CPU, in 84 minutes.

    python analysis/tiny-lm/pretrain.py --work DIR --out continual/backbone/embedded/tiny-lm

The same command continues after any interruption: the state is one safetensors file, written to a
temporary name, fsynced and renamed. Data order is a pure function of (seed, step). The learning
rate warms up, stays, and falls linearly to zero over the last part of the token budget (WSD), so a
budget may still be changed while the rate is constant. While it falls, every step also asks some
topic questions, and their nats per answered token are added to the loss. The last tenth of the
steps uses windows of 512 tokens, so that every position that the config allows has been trained.
"""

import argparse
import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from batches import BOS, EOS, PAD, SPECIAL, Batches, Questions, Settings, tokenise
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy

from continual._torchvision import ensure_torchvision
from continual.backbone.door import quiet


def new_model(seed: int) -> Any:
    """Return the untrained model, a LlamaForCausalLM."""
    ensure_torchvision()
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        use_cache=False,
    )
    return LlamaForCausalLM(config)


def new_optimizer(model: torch.nn.Module, settings: Settings) -> torch.optim.AdamW:
    """Return AdamW with weight decay on matrices only."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.95), fused=True)


def loss_of(model: torch.nn.Module, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean nats per predicted token; padding stands at the end and is not predicted."""
    logits = model(input_ids=ids, use_cache=False).logits
    return cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())


def save_checkpoint(
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    step: int,
    seconds: float,
    s: Settings,
) -> None:
    """Write everything that the next step depends on, atomically."""
    tensors = {f"model.{name}": p.detach() for name, p in model.named_parameters()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for i, p in enumerate(parameters):
        for key, value in optimizer.state[p].items():
            tensors[f"optimizer.{i}.{key}"] = value
    about = {"step": step, "seconds": seconds, "settings": asdict(s)}
    new = path.with_suffix(".new")
    save_file(tensors, new, metadata={"about": json.dumps(about)})
    with open(new, "rb") as file:
        os.fsync(file.fileno())
    os.replace(new, path)


def load_checkpoint(
    path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, s: Settings
) -> tuple[int, float]:
    """Fill model and optimizer from `path`; return the next step and the seconds so far."""
    if not path.exists():
        return 0, 0.0
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        changed = {k: v for k, v in about["settings"].items() if asdict(s)[k] != v}
        if set(changed) - {"tokens"}:
            raise ValueError(f"{path} was trained with {changed}; use the same or a new --work.")
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(file.get_tensor(f"model.{name}"))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        for i, p in enumerate(parameters):
            for key in ("step", "exp_avg", "exp_avg_sq"):
                optimizer.state[p][key] = file.get_tensor(f"optimizer.{i}.{key}")
    return about["step"], about["seconds"]


def export(out: Path, model: Any, tokenizer: Tokenizer, about: dict[str, Any]) -> None:
    """Write a directory that `from_pretrained` reads, weights in float16; each file atomically."""
    ensure_torchvision()
    from transformers import PreTrainedTokenizerFast

    new = out / ".new"
    new.mkdir(parents=True, exist_ok=True)
    half = new_model(0)
    half.load_state_dict(model.state_dict())
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **SPECIAL,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
    )
    with quiet():
        half.half().save_pretrained(new)
        fast.save_pretrained(new)
    (new / "training.json").write_text(json.dumps(about, indent=2) + "\n")
    for path in new.iterdir():
        path.chmod(0o644)
        os.replace(path, out / path.name)
    new.rmdir()


def train_step(
    model: Any,
    optimizer: torch.optim.Optimizer,
    ids: torch.Tensor,
    questions: tuple[torch.Tensor, torch.Tensor] | None,
    lr: float,
) -> tuple[float, float]:
    """Take one step; return the nats per token of the windows and of the answers (or NaN)."""
    for group in optimizer.param_groups:
        group["lr"] = lr
    loss = loss_of(model, ids, ids)
    loss.backward()
    answered = float("nan")
    if questions:
        answers = loss_of(model, *questions)
        answers.backward()
        answered = answers.item()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item(), answered


def train(work: Path, out: Path, s: Settings, every: float, log_every: int) -> None:
    """Train to the end of the budget, or continue to it."""
    tokenizer, documents = tokenise(work)
    batches, questions = Batches(documents, s), Questions(tokenizer, s)
    model = new_model(s.seed)
    optimizer = new_optimizer(model, s)
    step, before = load_checkpoint(work / "checkpoint.safetensors", model, optimizer, s)
    started = saved = logged = time.monotonic()
    losses = []
    while step < s.steps:
        ids, asked = batches(step), questions(step)
        losses.append(train_step(model, optimizer, ids, asked, s.rate(step)))
        step += 1
        now = time.monotonic()
        if step % log_every == 0:
            nats, answered = np.mean(losses, axis=0)
            line = f"step {step}/{s.steps} tokens {step * s.batch} nats {nats:.4f} {answered:.4f}"
            rate = len(losses) * s.batch / (now - logged)
            print(f"{line} seconds {before + now - started:.0f} tok/s {rate:.0f}", flush=True)
            losses, logged = [], now
        if now - saved > every or step == s.steps:
            seconds = before + now - started
            save_checkpoint(work / "checkpoint.safetensors", model, optimizer, step, seconds, s)
            about = {"tokens_seen": step * s.batch, "steps": step, "seconds": round(seconds)}
            about["python"] = platform.python_version()
            export(out, model, tokenizer, {**about, "settings": asdict(s)})
            saved = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("runs/tiny-lm"), help="resume state")
    parser.add_argument("--out", type=Path, default=Path("continual/backbone/embedded/tiny-lm"))
    parser.add_argument("--tokens", type=int, default=Settings.tokens)
    parser.add_argument("--checkpoint-every", type=float, default=180.0, help="seconds")
    parser.add_argument("--log-every", type=int, default=50, help="steps")
    a = parser.parse_args()
    train(a.work, a.out, Settings(tokens=a.tokens), a.checkpoint_every, a.log_every)


if __name__ == "__main__":
    main()
