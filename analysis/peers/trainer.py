"""The same work through transformers' Trainer and PEFT's LoRA."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from peft import LoraConfig, get_peft_model
from work import ALPHA, CLIP, RANK, RATE, Tasks, Work


class Watch(transformers.TrainerCallback):
    """Takes the time after every optimiser step."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look at the clock."""
        self.stamps.append(time.perf_counter())


def config(work: Work) -> LoraConfig:
    """Return LoRA as every system has it."""
    kind = {"causal-lm": "CAUSAL_LM", "encoder": "SEQ_CLS"}[work.family]
    return LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=work.targets, task_type=kind)


def examples(work: Work, texts: list[str]) -> list[dict[str, Any]]:
    """Return tokenized texts as the Trainer takes them."""
    ids = work.tokens(texts)
    classes: Any = np.arange(len(ids)) % 2 if work.family == "encoder" else ids
    return [
        {"input_ids": row, "attention_mask": np.ones_like(row), "labels": label}
        for row, label in zip(ids, classes, strict=True)
    ]


def make(work: Work, model: Any, texts: list[str], steps: int, folder: Path) -> Any:
    """Return a quiet Trainer and its watch."""
    watch = Watch()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=work.batch,
        per_device_eval_batch_size=32,
        learning_rate=RATE,
        max_grad_norm=CLIP,
        lr_scheduler_type="constant",
        logging_steps=10,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=examples(work, texts),  # type: ignore[arg-type]
        callbacks=[watch],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer, watch


def train(work: Work, texts: list[str], steps: int, folder: Path) -> list[float]:
    """Train; return the clock after every step."""
    model = get_peft_model(work.model(), config(work))
    trainer, watch = make(work, model, texts, steps, folder)
    trainer.train()
    return watch.stamps


def sequence(work: Work, tasks: Tasks, steps: int, folder: Path) -> None:
    """Learn one task after another with an adapter each; after each, test all so far."""
    model: Any = None
    tests = [examples(work, texts) for _, texts in tasks]
    for k, (train_texts, _) in enumerate(tasks):
        if model is None:
            model = get_peft_model(work.model(), config(work), adapter_name="task-0")
        else:
            model.add_adapter(f"task-{k}", config(work))
        model.set_adapter(f"task-{k}")
        trainer, _watch = make(work, model, train_texts, steps, folder)
        trainer.train()
        for j in range(k + 1):
            model.set_adapter(f"task-{j}")
            trainer.evaluate(tests[j])


def evaluation(work: Work, texts: list[str], folder: Path) -> Callable[[], object]:
    """Return what evaluates texts that are tokenized already."""
    model = get_peft_model(work.model(), config(work))
    trainer, _ = make(work, model, texts[: work.batch], 1, folder)
    test = examples(work, texts)
    return lambda: trainer.evaluate(test)
