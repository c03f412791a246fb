"""The laws at the level of a whole network, for every method including those without an adapter.

What a method must show to be in the tables, each a test over all of them: it changes nothing at its
start; it trains what it declares and nothing else; it trains as many numbers as its formula says;
merged, it is the network that it was in factors; a fresh process makes the same network of its
state, bit for bit; and a task that begins changes nothing. That each runs, and what it forgets, is
measured by analysis/all-methods (tests/analysis/test_all_methods.py).
"""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close
from transformers.pytorch_utils import Conv1D

from continual.adapters import METHODS, attach, configure
from continual.adapters.moments import forget
from continual.errors import InputError
from tests.adapters.models import (
    ADAPTER_METHODS,
    MODELS,
    TOKENS,
    adapt,
    config_of,
    each,
    logits,
    own_optimiser,
    train_model,
)

ROOT = Path(__file__).parents[2]
every_method = pytest.mark.parametrize("method", each(sorted(METHODS)))
every_model = pytest.mark.parametrize("name", sorted(MODELS))


@every_model
@every_method
def test_attach_changes_no_output(name, method):
    """Law 1, to the last bit unless the method declares another tolerance."""
    model = MODELS[name]()
    before = logits(model)

    adaptation = attach(model, method, config_of(method), model_type=name, heads=nn.Linear(3, 2))
    adaptation.begin_task(0)

    tolerance = METHODS[method].identity
    if tolerance:
        assert 0.0 < (logits(model) - before).norm() <= tolerance * before.norm()
        return
    assert torch.equal(logits(model), before)


@every_model
@every_method
def test_training_changes_exactly_what_is_declared(name, method):
    """Law 3: frozen numbers keep every bit, trained ones move, buffers are left alone."""
    adaptation = adapt(name, method, tasks=2)
    adaptation.begin_task(2)
    before = deepcopy({**dict(adaptation.model.named_parameters()), **dict(_heads(adaptation))})
    trainable = {id(p) for p in adaptation.trainable().values()}

    train_model(adaptation)

    for key, parameter in {
        **dict(adaptation.model.named_parameters()),
        **dict(_heads(adaptation)),
    }.items():
        learns = id(parameter) in trainable
        changed = not torch.equal(parameter, before[key])
        assert changed == learns or (learns and METHODS[method].rests), key
        assert parameter.requires_grad == learns, key


@every_model
@every_method
def test_trained_numbers_follow_the_closed_formula(name, method):
    """Sum over the adapted weights, plus the heads' 8 numbers."""
    adaptation = adapt(name, method, tasks=3)
    kind = METHODS[method].adapter
    config = config_of(method)
    shapes = {n: tuple(a.delta_weight().shape) for n, a in adaptation.adapters.items()}
    biased = [shapes[n] for n, layer in adaptation.layers.items() if layer.bias is not None]
    adapted = sum(kind.trained_numbers(*shape, config, 2) for shape in shapes.values())
    adapted += sum(kind.bias_numbers(*shape, config, 2) for shape in biased)
    adapted += kind.shared_numbers(config, 2, shapes) if shapes else 0
    own = {"everything": sum(p.numel() for p in MODELS[name]().parameters())}

    expected = {"nothing": 0}.get(METHODS[method].trains, adapted + 8)
    assert adaptation.trained_numbers() == expected + own.get(METHODS[method].trains, 0)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@every_model
@pytest.mark.parametrize("method", each(ADAPTER_METHODS))
def test_merged_it_is_the_network_that_it_was_in_factors(name, method, dtype, tolerance):
    """Law 2 at the output: W + ΔW and b + Δb in plain layers, with nothing of ours left."""
    adaptation = adapt(name, method, tasks=3, dtype=dtype)
    with adaptation.serving(2):
        expected = logits(adaptation.model.eval())
        changes = {
            name: (adapter.delta_weight().detach(), adapter.delta_bias())
            for name, adapter in adaptation.adapters.items()
        }
    model = adaptation.detach()
    before = logits(model)
    for place, (weight, bias) in changes.items():
        layer = model.get_submodule(place)
        layer.weight.data += weight.T if isinstance(layer, Conv1D) else weight
        if bias is not None:
            layer.bias.data += bias.detach()

    assert (expected - before).norm() > 1e-3
    assert (logits(model) - expected).norm() <= tolerance * expected.norm()


@every_model
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("cola", {"rank": 3}),
        ("periodic-lora", {"rank": 3, "momentum": 0.0}),  # with momentum it moves, as declared
        ("rac-lora", {"rank": 3}),
        ("xgblora", {}),
    ],
)
def test_a_restart_within_a_task_leaves_the_network_as_it_was(name, method, settings):
    """The step that ends a round freezes a pair and begins another, at the same function."""
    model = MODELS[name]()
    config = configure(method, {**settings, "every": 2})
    adaptation = attach(model, method, config, model_type=name, seed=5)
    adaptation.begin_task(0)
    optimiser = own_optimiser(adaptation, 0.02)
    anew = []
    for _ in range(4):
        optimiser.zero_grad()
        model(input_ids=TOKENS, labels=TOKENS).loss.backward()
        optimiser.step()
        before = logits(model)
        anew.append(adaptation.after_step(0.02))
        forget(optimiser, anew[-1])
        assert_close(logits(model), before, rtol=1e-5, atol=1e-6)

    assert [bool(one) for one in anew] == [False, True, False, True]


def test_a_fresh_process_makes_the_same_network_of_a_state(tmp_path):
    """Loaded elsewhere under other random state, every method has the same hash and outputs."""
    outputs, keys = {}, {}
    for name in [f"{model} {method}" for model in MODELS for method in METHODS]:
        adaptation = adapt(*name.split(), tasks=2)
        save_file(adaptation.state(), tmp_path / f"{name}.safetensors")
        outputs[name], keys[name] = logits(adaptation.model), adaptation.state_hash()
    save_file(outputs, tmp_path / "outputs.safetensors")

    code = "import tests.conftest; from tests.adapters.test_model_laws import check; "
    code += f"check({str(tmp_path)!r})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {name: [True, key] for name, key in keys.items()}


def check(folder: str) -> None:
    """What the other process does: print whether each method gives the same bits, and its hash."""
    torch.manual_seed(987)
    outputs = load_file(f"{folder}/outputs.safetensors")
    same = {}
    for name, expected in outputs.items():
        adaptation = adapt(*name.split())
        adaptation.load_state(load_file(f"{folder}/{name}.safetensors"))
        same[name] = [torch.equal(logits(adaptation.model), expected), adaptation.state_hash()]
    print(json.dumps(same))


@every_model
@every_method
def test_beginning_a_task_forgets_nothing(name, method):
    """Law 4 at the output."""
    adaptation = adapt(name, method, tasks=3)
    before = logits(adaptation.model)

    adaptation.begin_task(3)

    with adaptation.serving(2):  # for methods that must be told the task
        assert_close(logits(adaptation.model), before, rtol=1e-5, atol=1e-6)


@every_model
@every_method
def test_state_is_complete(name, method):
    """Law 5: loaded into a fresh attachment it is the same function, bit for bit."""
    source, target = adapt(name, method, tasks=3), adapt(name, method, tasks=1)
    state = source.state()
    frozen = deepcopy(state)
    target.load_state(state)
    train_model(source)

    for key in state:
        assert torch.equal(state[key], frozen[key]), f"{key} shares memory with the model"
        assert state[key].is_contiguous()
    source.load_state(state)
    assert torch.equal(logits(source.model), logits(target.model))
    assert source.state_hash() == target.state_hash()
    assert target.task == 2
    assert sum(t.numel() for k, t in state.items() if k != "meta") == source.stored_numbers()


@every_model
@every_method
def test_disabled_means_base(name, method):
    """Law 6: exactly the base inside, exactly the adapted network after, nothing unfrozen."""
    base = logits(MODELS[name]())
    adaptation = adapt(name, method, tasks=2)
    after, key = logits(adaptation.model), adaptation.state_hash()
    flags = [p.requires_grad for p in adaptation.model.parameters()]

    with adaptation.disabled():
        assert torch.equal(logits(adaptation.model), base)
        with adaptation.disabled():
            assert torch.equal(logits(adaptation.model), base)
        assert torch.equal(logits(adaptation.model), base)

    assert torch.equal(logits(adaptation.model), after)
    assert adaptation.state_hash() == key
    assert [p.requires_grad for p in adaptation.model.parameters()] == flags


@every_model
@every_method
def test_detach_gives_the_model_back(name, method):
    """Modules, numbers and flags as before attach."""
    model = MODELS[name]()
    next(model.parameters()).requires_grad_(False)
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    kinds = [type(module) for module in model.modules()]
    before = logits(model)
    adaptation = attach(model, method, config_of(method), model_type=name, heads=nn.Linear(3, 2))
    adaptation.begin_task(0)
    train_model(adaptation)

    adaptation.detach()

    assert torch.equal(logits(model), before)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    assert [type(module) for module in model.modules()] == kinds


@every_method
def test_state_hash_follows_the_function(method):
    """It changes with training and not with time; heads count."""
    adaptation = adapt("llama", method, tasks=1)
    first = adaptation.state_hash()

    assert adaptation.state_hash() == first
    train_model(adaptation)
    assert (adaptation.state_hash() == first) == (METHODS[method].trains == "nothing")


@every_method
def test_heads_that_grow_are_found_and_refused_at_another_size(method):
    """New head parameters learn from the next task on; a state needs heads of its own size."""
    heads = nn.ModuleDict({"a": nn.Linear(4, 2)})
    adaptation = adapt("llama", method, tasks=1, heads=heads)
    heads["a"] = nn.Linear(4, 3)
    heads["b"] = nn.Linear(4, 2)
    adaptation.begin_task(1)
    small = adapt("llama", method, heads=nn.ModuleDict({"a": nn.Linear(4, 2)}))
    narrow = nn.ModuleDict({"a": nn.Linear(4, 2), "b": nn.Linear(4, 2)})

    learns = METHODS[method].trains != "nothing"
    assert ("heads.b.weight" in adaptation.trainable()) == learns
    assert heads["b"].weight.requires_grad == learns
    with pytest.raises(InputError, match=r"unexpected \['heads.b.bias', 'heads.b.weight'\]"):
        small.load_state(adaptation.state())
    with pytest.raises(InputError, match="begin_experience for every task"):
        adapt("llama", method, heads=narrow).load_state(adaptation.state())


def _heads(adaptation):
    return ((f"heads.{n}", p) for n, p in adaptation.heads.named_parameters())
