"""Small networks and a little training, shared by the tests of this room."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from continual.adapters import METHODS, Adaptation, attach, configure
from continual.adapters.base import Adapter, Site
from continual.adapters.moments import forget
from continual.training.optimiser import make_optimiser
from continual.training.pairs import pairs_of

ADAPTER_METHODS = sorted(name for name, method in METHODS.items() if method.adapter is not None)
RESTARTS = {"magnitudes": "shared", "boundary": "restart"}
VARIANTS: dict[str, tuple[str, dict[str, object]]] = {  # beside the defaults of every method
    "clora sum": ("clora", {"k": 2, "reduction": "sum"}),
    "curlora unit": ("curlora", {"normalize": "unit"}),
    "curlora qr, fewer rows": ("curlora", {"normalize": "qr", "row_rank": 1}),
    "curlora per task": ("curlora", {"cores": "per_task"}),
    "curlora published": ("curlora", {"compat": "published", "lam": 0.1}),
    "droplora sample": ("droplora", {"granularity": "sample"}),
    "droplora element": ("droplora", {"granularity": "element", "p": 0.5}),
    "glora vectors": ("glora", {"a": "vector", "b": "vector", "c": "vector"}),
    "glora constants": (
        "glora",
        {"a": "constant", "b": "constant", "c": "none", "d": "constant", "e": "constant"},
    ),
    "glora supernet": ("glora", {"supernet": True}),
    "nlora factors": ("nlora", {"penalty": "factors", "reduction": "sum", "lam": 0.01}),
    "nlora proximal": ("nlora", {"penalty": "proximal"}),
    "nlora sampled": ("nlora", {"sampling": 0.5}),
    "olora published": ("olora", {"penalty": "published", "lam_norm": 0.1, "normalize": True}),
    "pica bottom": ("pica", {"which": "bottom", "shared": False}),
    "pica random": ("pica", {"which": "random"}),
    "sora published": ("sora", {"compat": "published", "xi": 0.05}),
    "prilora pruned": ("prilora", {"every": 2, "share": 0.3}),
    "slora restarts, shared": ("slora", RESTARTS),
    "slora by factors": ("slora", {"normalize": "factors"}),
    "slora rank schedule": ("slora", {"ranks": ((2, 1),)}),
    "slora fold": ("slora", {"fold": 1e-9}),
    "cola restarts": ("cola", {"every": 2}),
    "periodic-lora restarts": ("periodic-lora", {"every": 2, "momentum": 0.3}),
    "rac-lora restarts, A": ("rac-lora", {"every": 2, "side": "A"}),
    "rac-lora restarts, B": ("rac-lora", {"every": 3}),
    "xgblora restarts": ("xgblora", {"every": 2}),
    "mtl-lora diagonal": ("mtl-lora", {"core": "diagonal", "pool": 2, "temperature": 1.0}),
    "dynamic-dora pruned": ("dynamic-dora", {"first": 1, "last": 4, "every": 1}),
    "eva one look": ("eva", {"per_task": False}),
    "eva redistributed": ("eva", {"rho": 2.0}),
    "melora two parts": ("melora", {"parts": 2}),
    "qr-lora svd": ("qr-lora", {"start": "svd"}),
    "dota two cores, balanced": ("dota", {"cores": 2, "split": "balanced"}),
    "dota four cores": ("dota", {"cores": 4}),
    "lorta with heads": ("lorta", {"head_size": 1}),
    "loretta two digits": ("loretta", {"digits": 2, "tensor_rank": 2}),
    "loretta four digits": ("loretta", {"digits": 4}),
    "qdota two cores, balanced": ("qdota", {"cores": 2, "split": "balanced"}),
}
# The laws of these run in the fast suite; those of the wider family in the slow one.
CENTRAL = (
    *("curlora", "nlora", "slora", "olora", "inclora", "lora", "per-task", "joint", "replay"),
    *("ewc", "lwf", "full", "frozen", "head-only", "glora", "pica", "dota", "droplora"),
)
ADAPTERS = {**{name: (name, {}) for name in ADAPTER_METHODS}, **VARIANTS}
TOKENS = torch.arange(24).reshape(2, 12) % 31


def each(names: Iterable[str]) -> list[Any]:
    """Names of methods or variants as parameters; those of the wider family are slow."""
    slow = pytest.mark.slow
    return [n if method_of(n) in CENTRAL else pytest.param(n, marks=slow) for n in names]


def site(m: int = 7, n: int = 5, *, seed: int = 3, dtype: torch.dtype = torch.float32) -> Site:
    """A random weight of its own; (7, 5) by default, so that no axis can be confused."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(m, n, generator=generator).to(dtype)
    bias = torch.randn(m, generator=generator).to(dtype)
    return Site(name="layer", weight=weight, share=1.0, seed=seed, bias=bias)


def method_of(name: str) -> str:
    """The method of a variant."""
    return ADAPTERS.get(name, (name, {}))[0]


def config_of(name: str, rank: int = 3) -> object:
    """The config of a method or a variant at a small rank."""
    method, settings = ADAPTERS.get(name, (name, {}))
    ranked = "rank" in METHODS[method].config.__dataclass_fields__
    return configure(method, {**({"rank": rank} if ranked else {}), **settings})


def adapter_of(method: str, where: Site, rank: int = 3) -> Adapter:
    """A fresh adapter."""
    kind = METHODS[method_of(method)].adapter
    assert kind is not None
    return kind(where, config_of(method, rank))


def train_adapter(adapter: Adapter, n: int, steps: int = 4, seed: int = 0) -> Adapter:
    """A few real steps of AdamW towards random outputs."""
    generator = torch.Generator().manual_seed(seed)
    m = adapter.delta_weight().shape[0]
    x, target = torch.randn(16, n, generator=generator), torch.randn(16, m, generator=generator)
    optimiser = torch.optim.AdamW(adapter.parameters(), lr=0.05)
    for step in range(steps):
        optimiser.zero_grad()
        torch.manual_seed(step)  # as the loop seeds what a step draws
        adapter.before_step()
        loss = (adapter(x, torch.zeros_like(target)) - target).square().mean() + adapter.penalty()
        loss.backward()
        adapter.after_backward()
        optimiser.step()
        if adapter.after_step(0.05):
            optimiser.state.clear()
    return adapter


def llama(dtype: torch.dtype = torch.float32) -> nn.Module:
    """Two layers, width 16, random but always the same."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=31,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


def gpt2(dtype: torch.dtype = torch.float32) -> nn.Module:
    """Two layers, width 16, with transposed weights and biases."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=31,
        n_positions=16,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model.to(dtype).eval()


MODELS = {"llama": llama, "gpt2": gpt2}


def adapt(
    name: str,
    method: str,
    *,
    tasks: int = 0,
    heads: nn.Module | None = None,
    dtype: torch.dtype = torch.float32,
) -> Adaptation:
    """A small model with a method on it, trained on ``tasks`` tasks."""
    model = MODELS[name](dtype)
    beside = heads if heads is not None else nn.Linear(3, 2)
    adaptation = attach(
        model, method_of(method), config_of(method), model_type=name, seed=5, heads=beside
    )
    for task in range(tasks):
        begin(adaptation, task, lambda: model(input_ids=TOKENS))
        train_model(adaptation, seed=task)
    return adaptation


def logits(model: nn.Module) -> Tensor:
    """What the network says about the fixed tokens."""
    with torch.no_grad():
        return model(input_ids=TOKENS).logits


def train_model(adaptation: Adaptation, steps: int = 3, seed: int = 0) -> None:
    """A few real steps of the method's own optimiser on random next tokens."""
    if not adaptation.trainable():
        return
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(31, TOKENS.shape, generator=generator)
    # CURLoRA's columns and rows are tiny; RandLoRA's bases would make 30 W of the others' rate.
    rate = {"curlora": 20.0, "randlora": 0.005}.get(adaptation.method.name, 0.02)
    optimiser = own_optimiser(adaptation, rate)
    for step in range(steps):
        optimiser.zero_grad()
        torch.manual_seed(step)
        adaptation.before_step()
        loss = adaptation.model(input_ids=TOKENS, labels=labels).loss + adaptation.penalty()
        if adaptation.heads is not None:
            loss = loss + sum(p.square().sum() for p in adaptation.heads.parameters())
        if loss.requires_grad:
            loss.backward()
            adaptation.after_backward()
            optimiser.step()
            forget(optimiser, adaptation.after_step(rate))


def own_optimiser(adaptation: Adaptation, rate: float) -> torch.optim.Optimizer:
    """The optimiser that makes a method what it is, on what learns now."""
    kind = adaptation.method.defaults.get("train", {}).get("optimiser", "adamw")
    if kind == "loko":  # it takes measurements of few classes, and there is a vocabulary here
        kind = "adamw"
    return make_optimiser(adaptation.trainable(), rate, 0.01, kind, pairs_of(adaptation))


class One(nn.Module):
    """A model of one layer."""

    def __init__(self, kind: str, dtype: torch.dtype = torch.float32) -> None:
        """Random weights and bias."""
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        n, m = (6, 6) if kind.startswith("square") else (5, 7)
        if kind.endswith("conv1d"):
            from transformers.pytorch_utils import Conv1D

            self.layer = Conv1D(m, n)
        else:
            self.layer = nn.Linear(n, m, bias=kind == "linear")
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """The layer alone."""
        return self.layer(x)


def inputs(model: One, dtype: torch.dtype = torch.float32) -> Tensor:
    """A batch with two leading axes."""
    n = 6 if model.layer.weight.shape[0] == model.layer.weight.shape[1] else 5
    return torch.randn(4, 3, n, generator=torch.Generator().manual_seed(2)).to(dtype)


def begin(adaptation: Adaptation, task: int, forward: Callable[[], object]) -> None:
    """Begin a task as the loop does: methods that must see inputs first see some."""
    adaptation.begin_task(task)
    if adaptation.looks_at:
        with adaptation.looking(), torch.no_grad():
            forward()


def adapted(method: str, model: One, tasks: int, rank: int = 3) -> Adaptation:
    """The model after real training on a number of tasks."""
    x = inputs(model, model.layer.weight.dtype)
    config = config_of(method, rank)
    rate = 0.005 if method == "lora-rite" else 0.05  # a rate of ΔW itself, which factors divide
    adaptation = attach(model, method_of(method), config, targets=["layer"], seed=4)
    for task in range(tasks):
        begin(adaptation, task, lambda: model(x))
        optimiser = own_optimiser(adaptation, rate)
        for step in range(3):
            optimiser.zero_grad()
            torch.manual_seed(step)
            adaptation.before_step()
            (model(x).float().sub(task + 1).square().mean() + adaptation.penalty()).backward()
            adaptation.after_backward()
            optimiser.step()
            forget(optimiser, adaptation.after_step(rate))
    return adaptation
