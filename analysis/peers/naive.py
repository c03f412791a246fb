"""The same work through Avalanche's Naive and PEFT's LoRA, one adapter through all tasks."""

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from bare import labels_of
from peft import get_peft_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset
from trainer import config
from work import CLIP, RATE, Tasks, Work

warnings.filterwarnings("ignore", module="qpsolvers")
from avalanche.benchmarks import benchmark_from_datasets  # noqa: E402
from avalanche.benchmarks.utils import as_classification_dataset  # noqa: E402
from avalanche.core import SupervisedPlugin  # noqa: E402
from avalanche.evaluation.metrics import loss_metrics  # noqa: E402
from avalanche.training.plugins import EvaluationPlugin  # noqa: E402
from avalanche.training.supervised import Naive  # noqa: E402


class Logits(nn.Module):
    """A model of transformers as Avalanche calls one: numbers in, logits out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of a batch."""
        return self.model(input_ids=ids).logits


class Watch(SupervisedPlugin):
    """Clips the gradient, and takes the time after every optimiser step."""

    def __init__(self, learning: list[nn.Parameter]) -> None:
        super().__init__()
        self.learning = learning
        self.stamps: list[float] = []

    def before_update(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Clip."""
        nn.utils.clip_grad_norm_(self.learning, CLIP)

    def after_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
        """Look at the clock."""
        self.stamps.append(time.perf_counter())


def data_of(work: Work, texts: list[str]) -> Any:
    """Return tokenized texts as a data set of Avalanche's."""
    ids = work.tokens(texts)
    found: Any = TensorDataset(torch.from_numpy(ids), labels_of(work, ids))
    found.targets = [0] * len(ids)
    return as_classification_dataset(found)


def strategy_of(work: Work) -> tuple[Naive, Watch]:
    """Return the strategy and its watch."""
    model = Logits(get_peft_model(work.model(), config(work)))
    learning = [p for p in model.parameters() if p.requires_grad]
    watch = Watch(learning)
    strategy = Naive(
        model=model,
        optimizer=torch.optim.AdamW(learning, lr=RATE),
        criterion=lambda said, true: cross_entropy(
            said.reshape(-1, said.shape[-1]), true.reshape(-1)
        ),
        train_mb_size=work.batch,
        eval_mb_size=32,
        train_epochs=1,
        plugins=[watch],
        evaluator=EvaluationPlugin(loss_metrics(experience=True), loggers=[]),
    )
    return strategy, watch


def train(work: Work, texts: list[str], steps: int, folder: Path) -> list[float]:
    """Train; return the clock after every step."""
    del folder
    strategy, watch = strategy_of(work)
    data = data_of(work, _stretched(texts, steps * work.batch))
    benchmark = benchmark_from_datasets(train=[data])
    for experience in benchmark.streams["train"]:
        strategy.train(experience)
    return watch.stamps


def sequence(work: Work, tasks: Tasks, steps: int, folder: Path) -> None:
    """Learn one task after another; after each, test all so far."""
    del folder
    strategy, _ = strategy_of(work)
    benchmark = benchmark_from_datasets(
        train=[data_of(work, _stretched(train, steps * work.batch)) for train, _ in tasks],
        test=[data_of(work, test) for _, test in tasks],
    )
    for k, experience in enumerate(benchmark.streams["train"]):
        strategy.train(experience)
        strategy.eval(list(benchmark.streams["test"])[: k + 1])


def evaluation(work: Work, texts: list[str], folder: Path) -> Callable[[], object]:
    """Return what evaluates texts that are tokenized already."""
    del folder
    strategy, _ = strategy_of(work)
    data = data_of(work, texts)
    benchmark = benchmark_from_datasets(train=[data], test=[data])
    test = list(benchmark.streams["test"])
    return lambda: strategy.eval(test)


def _stretched(texts: list[str], count: int) -> list[str]:
    return [texts[k % len(texts)] for k in range(count)]
