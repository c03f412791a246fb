"""What an adapter costs per training step: as tasks pile up, and against other formulations.

    python analysis/cost/bench.py [--out results.json]

Three questions, each answered in one run with everything taking turns (medians after a warm-up):

1. a whole training step (forward, loss, penalty, backward, AdamW) at 15 past tasks over one at 1
   past task, for our methods and for PEFT with as many active LoRA adapters;
2. CURLoRA's forward and backward at 4096 x 4096 against forming C U R, as the published code does;
3. the same against PEFT's LoRA of the same rank, whole layers with their frozen weights.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import linear

from continual._torchvision import ensure_torchvision
from continual.adapters import attach, configure
from continual.backbone import load_backbone

METHODS = ("nlora", "olora", "slora")
PAST = (1, 15)
RANK = 8
TOKENS = (8, 64)  # of one batch: rows, length
SIDE, ROWS, LAYER_RANK = 4096, 1024, 16
WARM, TURNS = 3, 15


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measured formulation."""

    question: str
    where: str
    what: str
    milliseconds: float
    over: str  # what it is compared with
    ratio: float


def timed(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of every call, all taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(WARM + TURNS):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn >= WARM:
                seconds[name].append(time.perf_counter() - began)
    return {name: median(values) for name, values in seconds.items()}


def llama() -> nn.Module:
    """Two layers of width 512, random."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    return LlamaForCausalLM(config)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tiny-lm": lambda: load_backbone("tiny-lm").model,
    "Llama, 2 layers of 512": llama,
}


def step_of(model: Any, parameters: list[nn.Parameter], penalty: Callable[[], Tensor]) -> Any:
    """Return a whole training step as a call."""
    ids = torch.randint(5, 1000, TOKENS, generator=torch.Generator().manual_seed(0))
    optimiser = torch.optim.AdamW(parameters, lr=1e-4)
    model.train()

    def step() -> None:
        optimiser.zero_grad()
        (model(input_ids=ids, labels=ids).loss + penalty()).backward()
        optimiser.step()

    return step


def ours(make: Callable[[], nn.Module], method: str, past: int) -> Callable[[], None]:
    """Return a step of one of our methods after so many tasks of which all learned something."""
    model = make()
    config = configure(method, {"rank": RANK})
    adaptation = attach(model, method, config, model_type="llama")
    for task in range(past + 1):
        adaptation.begin_task(task)
        for name, parameter in adaptation.trainable().items():
            if task < past and name.endswith(".B"):
                nn.init.normal_(parameter, std=1e-3)
    return step_of(model, list(adaptation.trainable().values()), adaptation.penalty)


def pefts(make: Callable[[], nn.Module], past: int) -> Callable[[], None]:
    """Return a step of PEFT with as many frozen active adapters, and one that learns."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=RANK, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj"])
    model: Any = get_peft_model(make(), config, adapter_name="0")
    for k in range(1, past + 1):
        model.add_adapter(str(k), config)
    model.base_model.set_adapter([str(k) for k in range(past + 1)])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(f".lora_A.{past}." in name or f".lora_B.{past}." in name)
    learning = [p for p in model.parameters() if p.requires_grad]
    return step_of(model, learning, lambda: torch.zeros(()))


def piling_up() -> list[Row]:
    """Answer the first question."""
    rows = []
    for where, make in track(list(MODELS.items()), "tasks pile up"):
        calls: dict[str, Callable[[], object]] = {}
        for method in METHODS:
            calls |= {f"{method} {past}": ours(make, method, past) for past in PAST}
        calls |= {f"peft {past}": pefts(make, past) for past in PAST}
        found = timed(calls)
        for method in (*METHODS, "peft"):
            few, many = (found[f"{method} {past}"] for past in PAST)
            name = "peft, one adapter per task" if method == "peft" else method
            rows.append(
                Row(
                    question="step at 15 past tasks",
                    where=where,
                    what=name,
                    milliseconds=round(1000 * many, 2),
                    over="1 past task",
                    ratio=round(many / few, 3),
                )
            )
    return rows


def one_layer() -> list[Row]:
    """Answer the second and the third question."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    x = torch.randn(ROWS, SIDE, requires_grad=True)
    layers = {name: nn.Sequential(nn.Linear(SIDE, SIDE, bias=False)) for name in ("ours", "peft")}
    layers["peft"].load_state_dict(layers["ours"].state_dict())
    config = configure("curlora", {"rank": LAYER_RANK})
    adaptation = attach(layers["ours"], "curlora", config, targets=["0"])
    adaptation.begin_task(0)
    adapter: Any = adaptation.adapters["0"]
    nn.init.normal_(adapter.cores.core)
    options = LoraConfig(r=LAYER_RANK, target_modules=["0"])
    layer: Any = get_peft_model(layers["peft"], options)
    y = torch.zeros(ROWS, SIDE)

    def dense() -> Tensor:
        core = adapter.cores.core
        return y + linear(x, adapter.alpha * (adapter.C @ core @ adapter.R))

    def call(forward: Callable[[], Tensor]) -> Callable[[], None]:
        def both() -> None:
            x.grad = None
            forward().sum().backward()

        return both

    found = timed(
        {
            "factored": call(lambda: adapter(x, y)),
            "dense": call(dense),
            "ours": call(lambda: layers["ours"](x)),
            "peft": call(lambda: layer(x)),
        }
    )
    where = f"{SIDE} × {SIDE}, r = {LAYER_RANK}, {ROWS} tokens"
    pairs = (
        ("adapter alone", "C U R formed", "dense", "factored", "factored"),
        ("layer with its frozen weight", "CURLoRA", "ours", "peft", "PEFT's LoRA"),
    )
    return [
        Row(
            question=question,
            where=where,
            what=what,
            milliseconds=round(1000 * found[key], 2),
            over=over,
            ratio=round(found[key] / found[base], 3),
        )
        for question, what, key, base, over in pairs
    ]


def show(rows: list[Row], console: Console) -> None:
    """Print one table."""
    table = Table(title="Forward and backward", title_justify="left")
    for column in ("question", "where", "what"):
        table.add_column(column)
    for column in ("ms", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("over")
    for row in rows:
        table.add_row(
            *(row.question, row.where, row.what),
            *(f"{row.milliseconds:.1f}", f"{row.ratio:.2f}", row.over),
        )
    console.print(table)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    given = parser.parse_args()
    ensure_torchvision()
    rows = [*piling_up(), *one_layer()]
    show(rows, Console(width=130))
    if given.out:
        given.out.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
