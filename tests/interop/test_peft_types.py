"""Our methods as PEFT's types: what PEFT's own tests do not see (see ``peft_suite`` for those)."""

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import (
    AutoPeftModelForCausalLM,
    PeftModel,
    convert_to_lora,
    get_peft_model,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from continual.adapters import METHODS, forget
from continual.errors import InputError
from continual.interop import peft_types
from continual.interop.peft_types import (
    after_backward,
    after_step,
    before_step,
    begin_task,
    current_task,
    needs,
    penalty,
    refused,
    register,
    register_methods,
    type_names,
)
from continual.interop.peft_types.layer import AdapterLayer
from continual.interop.peft_types.names import FROM_BASE
from continual.interop.tuners.names import configs, tuner_named
from tests.adapters.models import (
    ADAPTERS,
    MODELS,
    TOKENS,
    One,
    adapt,
    adapted,
    config_of,
    inputs,
    llama,
    logits,
    method_of,
)

ROOT = Path(__file__).parents[2]
FAST = ("curlora", "nlora", "slora", "dora", "glora")


SHARED = ("pica", "pica random", "slora restarts, shared")  # layers have something in common


def has_type(name):
    """Whether a method or a variant can be a type of PEFT's."""
    kind, config = METHODS[method_of(name)].adapter, config_of(name)
    return (
        method_of(name) in type_names()
        and name not in SHARED
        and not kind.needs_task(config)
        and kind.searches(config) is None
    )


TYPED = [name for name in ADAPTERS if has_type(name)]
every = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in FAST else pytest.mark.slow) for n in TYPED]
)


def peft_config(name, **more):
    """PEFT's configuration of a method or a variant, with the settings of the other tests."""
    return register(method_of(name))(**vars(config_of(name)), **more)


def on(model, name, **more):
    """A PEFT model of it."""
    return get_peft_model(model, peft_config(name, **more))


def learn(model, loss_of, rate, steps=3):
    """Steps of AdamW on all that learns, with everything that a method may need."""
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        optimiser.zero_grad()
        torch.manual_seed(step)
        before_step(model)
        (loss_of() + penalty(model)).backward()
        after_backward(model)
        optimiser.step()
        forget(optimiser, after_step(model, rate))


def learned(name, kind="linear", tasks=3, **more):
    """A layer under PEFT after the training that ``adapted`` gives one of ours."""
    model = One(kind)
    x, tuned = inputs(model), on(model, name, target_modules=["layer"], seed=4, **more)
    for task in range(tasks):
        if task:
            begin_task(tuned, task)
        learn(tuned, lambda y=task + 1: tuned(x).sub(y).square().mean(), 0.05)
    return tuned, x


@every
@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_a_type_is_the_method(name, kind):
    """After training on three tasks a PEFT model computes what an attached one computes."""
    tuned, x = learned(name, kind)
    ours = adapted(name, One(kind), 3)

    assert_close(tuned(x), ours.model(x), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("model", ["llama", "gpt2"])
@pytest.mark.parametrize("name", ["curlora", "nlora", pytest.param("dora", marks=pytest.mark.slow)])
def test_a_type_adapts_the_layers_of_a_method(name, model):
    """Left alone, it finds the same layers of a known architecture and trains them the same."""
    ours = adapt(model, name, tasks=2)
    tuned = on(MODELS[model](), name, seed=5)
    rate = 20.0 if name == "curlora" else 0.02
    for task in range(2):
        if task:
            begin_task(tuned, task)
        labels = torch.randint(31, TOKENS.shape, generator=torch.Generator().manual_seed(task))
        learn(tuned, lambda y=labels: tuned(input_ids=TOKENS, labels=y).loss, rate)

    assert_close(logits(tuned), logits(ours.model), atol=1e-6, rtol=1e-6)
    assert (logits(tuned) - logits(MODELS[model]())).abs().max() > 1e-3
    assert sorted(ours.adapters) == sorted(tuned.targeted_module_names)


@every
def test_a_directory_is_the_adapter(name, tmp_path):
    """Saved after three tasks and loaded, it computes the same and goes on in the same task."""
    tuned, x = learned(name)
    tuned.save_pretrained(tmp_path)
    torch.manual_seed(987)
    loaded = PeftModel.from_pretrained(One("linear"), tmp_path, is_trainable=True)

    assert torch.equal(loaded.eval()(x), tuned.eval()(x))
    assert current_task(loaded) == 2
    begin_task(loaded, 3)
    begin_task(tuned, 3)
    assert_close(loaded(x), tuned(x))
    for one in (loaded.train(), tuned.train()):
        learn(one, lambda m=one: m(x).square().mean(), 0.05)
    assert_close(loaded.eval()(x), tuned.eval()(x))


@every
def test_merged_weights_are_the_adapter(name):
    """Merging changes no answer, unmerging brings the adapter back; a task ends unmerged only."""
    tuned, x = learned(name)
    tuned.eval()
    with torch.no_grad():
        before, base = tuned(x), One("linear")(x)
        tuned.merge_adapter(safe_merge=True)
        assert_close(tuned(x), before, atol=2e-5, rtol=2e-5)
        with pytest.raises(InputError, match="merged"):
            begin_task(tuned, 3)
        tuned.unmerge_adapter()
        assert_close(tuned(x), before, atol=2e-5, rtol=2e-5)
        with tuned.disable_adapter():
            assert_close(tuned(x), base, atol=2e-5, rtol=2e-5)
        assert_close(tuned.merge_and_unload()(x), before, atol=2e-5, rtol=2e-5)


@pytest.mark.slow  # another process imports peft and transformers
def test_types_survive_a_fresh_process(tmp_path):
    """There, AutoPeftModel loads every type from its directory and gives the same bits."""
    expected = {}
    llama().save_pretrained(tmp_path / "base")
    for name in type_names():
        more = {"shared": False} if name == "pica" else {}
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
        config = register(name)(**(vars(config_of(name)) | more), task_type="CAUSAL_LM")
        tuned = get_peft_model(base, config)
        for task in range(2):
            if task:
                begin_task(tuned, task)
            learn(tuned, lambda m=tuned: m(input_ids=TOKENS, labels=TOKENS).loss, 0.05)
        tuned.save_pretrained(tmp_path / name)
        expected[name] = logits(tuned.eval())
    save_file(expected, tmp_path / "outputs.safetensors")

    code = (
        "from continual._torchvision import ensure_torchvision; ensure_torchvision();"
        f"from tests.interop.test_peft_types import check; check({str(tmp_path)!r})"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == dict.fromkeys(type_names(), True)


def check(folder):
    """What the other process does: print whether each type gives the same bits, in its task."""
    torch.manual_seed(987)
    register_methods()
    same = {}
    for name, expected in load_file(f"{folder}/outputs.safetensors").items():
        loaded = AutoPeftModelForCausalLM.from_pretrained(f"{folder}/{name}").eval()
        same[name] = torch.equal(logits(loaded), expected) and current_task(loaded) == 1
    print(json.dumps(same))


def test_only_active_adapters_learn():
    """An added adapter waits, a chosen one learns alone, leaving ``disable`` changes nothing."""
    tuned, _ = learned("nlora")
    first = {n for n, p in tuned.named_parameters() if p.requires_grad}
    tuned.add_adapter("second", peft_config("nlora", target_modules=["layer"]))
    assert {n for n, p in tuned.named_parameters() if p.requires_grad} == first
    assert all(".default." in name for name in first)

    tuned.set_adapter("second")
    second = {name.replace(".default.", ".second.") for name in first}
    assert {n for n, p in tuned.named_parameters() if p.requires_grad} == second

    with tuned.disable_adapter():
        pass
    assert {n for n, p in tuned.named_parameters() if p.requires_grad} == second
    assert current_task(tuned) == 0


def test_what_does_not_learn_does_not_learn_after_a_boundary(tmp_path):
    """An adapter that was loaded for inference stays frozen when its next task begins."""
    tuned, _ = learned("slora")
    tuned.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(One("linear"), tmp_path)
    begin_task(loaded, 3)

    assert not any(p.requires_grad for p in loaded.parameters())


@pytest.mark.parametrize("name", ["curlora", "dora", "glora"])
def test_active_adapters_add_up(name):
    """Two at once change the weight by both changes, also where a change scales the output."""
    tuned, x = learned(name)
    more = {"target_modules": ["layer"], "init_weights": False, "seed": 8}
    tuned.add_adapter("second", peft_config(name, **more))
    tuned.base_model.set_adapter(["default", "second"])
    base, layer = One("linear"), tuned.base_model.model.layer
    with torch.no_grad():
        for held in layer.working():
            base.layer.weight += held.adapter.delta_weight()
            if (shift := held.adapter.delta_bias()) is not None:
                base.layer.bias += shift

        assert_close(tuned(x), base(x))
        assert_close(tuned.merge_and_unload()(x), base(x))


@pytest.mark.parametrize("name", FAST)
def test_a_model_may_move(name):
    """After the model's dtype changed, what an adapter knows of the weight is the weight again."""
    tuned, x = learned(name)
    expected = tuned(x)
    tuned.double()

    assert_close(tuned(x.double()), expected.double(), atol=1e-5, rtol=1e-5)
    begin_task(tuned, 3)
    assert_close(tuned(x.double()), expected.double(), atol=1e-5, rtol=1e-5)
    weight = tuned.base_model.model.layer.base_layer.weight
    known = [
        value
        for module in tuned.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and value.shape == weight.shape
    ]
    assert all(value.data_ptr() == weight.data_ptr() for value in known)
    assert bool(known) == (name in ("dora", "glora"))


@every
def test_low_precision_is_kept_when_it_is_asked_for(name, tmp_path):
    """``autocast_adapter_dtype=False`` holds adapters in the weight's dtype, tasks and all."""
    model, more = One("linear", torch.bfloat16), {"target_modules": ["layer"]}
    config = peft_config(name, **more, init_weights=False)
    tuned = get_peft_model(model, config, autocast_adapter_dtype=False)
    x = inputs(model, torch.bfloat16)
    learn(tuned, lambda: tuned(x).square().mean(), 0.05)
    begin_task(tuned, 1)
    learn(tuned, lambda: tuned(x).square().mean(), 0.05)
    tuned.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(
        One("linear", torch.bfloat16), tmp_path, autocast_adapter_dtype=False
    ).eval()
    tuned.eval()

    assert {p.dtype for p in loaded.parameters()} == {torch.bfloat16}
    assert torch.equal(loaded(x), tuned(x))
    assert_close(tuned.merge_and_unload()(x), loaded(x), atol=0.2, rtol=0.1)


def test_pefts_conversion_to_lora_agrees():
    """PEFT finds the same change as a LoRA; a change of a bias is none, and PEFT says so."""
    tuned, x = learned("curlora")
    config, state = convert_to_lora(tuned, rank=3)
    lora = get_peft_model(One("linear"), config)
    set_peft_model_state_dict(lora, state)

    assert_close(lora.eval()(x), tuned.eval()(x), atol=1e-5, rtol=1e-5)
    with pytest.raises((TypeError, ValueError), match="conver"):
        convert_to_lora(learned("glora")[0], rank=3)


def test_layers_injected_without_a_peft_model():
    """PEFT's low-level door works, and so do tasks and penalties on the bare model."""
    model = inject_adapter_in_model(peft_config("nlora", target_modules=["layer"]), One("linear"))
    x = inputs(model)
    learn(model, lambda: model(x).square().mean(), 0.05)
    begin_task(model, 1)

    assert isinstance(model.layer, AdapterLayer)
    assert penalty(model) == 0.0


def test_configurations_and_models_can_be_copied():
    """A configuration can be pickled, and a model copied, as those of PEFT's own."""
    tuned, x = learned("slora")
    config = pickle.loads(pickle.dumps(tuned.peft_config["default"]))

    assert config == tuned.peft_config["default"]
    assert type(config) is peft_types.SloraConfig
    assert_close(copy.deepcopy(tuned)(x), tuned(x))


def test_every_method_has_a_type_or_a_reason():
    """None is forgotten, and what is said about calls agrees with the methods."""
    assert type_names().keys() | refused().keys() == METHODS.keys()
    assert not type_names().keys() & refused().keys()
    assert len(set(type_names().values())) == len(type_names())
    assert needs("slora") == ("begin_task",)
    assert needs("prilora") == ("before_step", "after_step")
    with pytest.raises(InputError, match="cannot be a type of PEFT's: it must see inputs"):
        register("eva")
    with pytest.raises(InputError, match="did you mean 'curlora'"):
        register("curlra")


def test_ours_are_no_rows_of_pefts():
    """What this process has registered with PEFT is run by its own name, not behind `peft:`."""
    register_methods()

    assert "NLORA" in PEFT_TYPE_TO_CONFIG_MAPPING
    assert not set(type_names().values()) & set(configs())
    with pytest.raises(InputError, match="unknown tuner of PEFT 'nlora'"):
        tuner_named("peft:nlora")


@pytest.mark.parametrize(
    ("method", "settings", "says"),
    [
        ("curlora", {"rank": 0}, "at least 1"),
        ("curlora", {"bias": "lora_only"}, "curlora_only"),
        ("curlora", {"cores": "per_task"}, "PEFT tells a model no task"),
        ("glora", {"supernet": True}, "leave supernet out"),
        ("nlora", {"seed": -1}, "at least 0"),
        ("nlora", {"init_weights": "eva"}, "true or false"),
        ("nlora", {"target_modules": ".*q", "layers_to_transform": [0]}, "Give a list"),
    ],
)
def test_settings_that_cannot_be(method, settings, says):
    """They are refused when the configuration is made."""
    with pytest.raises(InputError, match=says):
        register(method)(**settings)


@pytest.mark.parametrize(
    ("name", "settings", "says"),
    [
        ("nlora", {"rank": 30}, "does not fit layer"),
        ("nlora", {"target_modules": ["model.embed_tokens"]}, "is a Embedding"),
        ("pica", {"rank": 2, "shared": True}, "shared=False"),
        ("slora", {"magnitudes": "shared", "boundary": "restart"}, "magnitudes='layer'"),
    ],
)
def test_what_does_not_fit_leaves_the_model_alone(name, settings, says):
    """It is refused before the first layer is replaced."""
    model = llama()
    with pytest.raises(InputError, match=says):
        get_peft_model(model, register(name)(**settings))

    assert not any(isinstance(module, AdapterLayer) for module in model.modules())


def test_a_name_that_means_a_part():
    """An adapter cannot be called like a part of itself, which PEFT would not save."""
    with pytest.raises(InputError, match="cannot be called 'pairs'"):
        get_peft_model(llama(), peft_config("nlora"), adapter_name="pairs")


@every
def test_another_base(name, tmp_path):
    """The change is the same beside other weights, or is made of them and refuses others."""
    tuned, _ = learned(name)
    tuned.save_pretrained(tmp_path)
    other = One("linear")
    nn.init.ones_(other.layer.weight)
    if method_of(name) in FROM_BASE:
        with pytest.raises(InputError, match=r"layer 'base_model\.model\.layer' has other weights"):
            PeftModel.from_pretrained(other, tmp_path)
        return
    loaded = PeftModel.from_pretrained(other, tmp_path)
    expected = tuned.eval().base_model.model.layer.get_delta_weight("default")

    assert_close(loaded.base_model.model.layer.get_delta_weight("default"), expected)


def test_damaged_files_are_refused(tmp_path):
    """A tensor that is missing is named."""
    tuned, _ = learned("nlora")
    tuned.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    lost = next(name for name in tensors if name.endswith("pair.A"))
    save_file(
        {n: t for n, t in tensors.items() if n != lost}, tmp_path / "adapter_model.safetensors"
    )

    with pytest.raises(InputError, match=r"lacks \['adapter.pairs.pair.A'\]"):
        PeftModel.from_pretrained(One("linear"), tmp_path)


def test_tasks_begin_in_order():
    """A new adapter is in task 0, and without one there is no task."""
    tuned = on(One("linear"), "nlora", target_modules=["layer"])
    with pytest.raises(InputError, match="of the active adapters comes 1; got 2"):
        begin_task(tuned, 2)
    begin_task(tuned, 1)
    tuned.add_adapter("new", peft_config("nlora", target_modules=["layer"]))
    tuned.base_model.set_adapter(["default", "new"])
    with pytest.raises(InputError, match=r"different tasks: \[0, 1\]"):
        current_task(tuned)
    with pytest.raises(InputError, match="no adapter of a method of ours is active"):
        penalty(One("linear"))
