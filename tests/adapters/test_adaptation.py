"""What an adaptation refuses, and what happens around the edges."""

import json

import pytest
import torch
from torch import nn

from continual.adapters import LoRAConfig, NLoRAConfig, attach, configure, method_named
from continual.errors import InputError
from tests.adapters.models import adapt, gpt2, llama, logits, train_model


def test_tasks_begin_in_order():
    """Skipping or repeating a task is an error that names the next one."""
    adaptation = adapt("llama", "lora")

    with pytest.raises(InputError, match="after task -1 comes 0; got 1"):
        adaptation.begin_task(1)
    adaptation.begin_task(0)
    with pytest.raises(InputError, match="after task 0 comes 1; got 0"):
        adaptation.begin_task(0)


def test_a_state_of_another_base_is_refused():
    """One changed number of the backbone is enough."""
    state = adapt("llama", "curlora", tasks=1).state()
    model = llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[0, 0] += 1.0
    other = attach(model, "curlora", configure("curlora", {"rank": 3}), model_type="llama")

    with pytest.raises(InputError, match=r"saved with base .* Load the backbone it was trained on"):
        other.load_state(state)


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("nlora", {"rank": 3}, "saved with method 'inclora'; here it is 'nlora'"),
        ("inclora", {"rank": 4}, "saved with config .*'rank': 3.* here it is .*'rank': 4"),
    ],
)
def test_a_state_of_another_method_or_config_is_refused(method, settings, message):
    """Before anything is copied."""
    state = adapt("llama", "inclora", tasks=2).state()
    other = attach(llama(), method, configure(method, settings), model_type="llama")
    before = logits(other.model)

    with pytest.raises(InputError, match=message):
        other.load_state(state)
    assert torch.equal(logits(other.model), before)


def test_missing_unexpected_and_misshapen_tensors_are_refused():
    """Each with the tensor's name."""
    adaptation = adapt("llama", "inclora", tasks=1)
    state = adaptation.state()
    key = next(key for key in state if key.endswith("pair.A"))

    with pytest.raises(InputError, match=r"lacks \['adapters.*pair.A'\] \(1\)"):
        adaptation.load_state({k: v for k, v in state.items() if k != key})
    with pytest.raises(InputError, match=r"unexpected \['adapters.x'\]"):
        adaptation.load_state({**state, "adapters.x": torch.zeros(1)})
    with pytest.raises(InputError, match=r"'pairs.pair.A' has shape \(1, 1\)"):
        adaptation.load_state({**state, key: torch.zeros(1, 1)})
    with pytest.raises(InputError, match="saved stack"):
        adaptation.load_state({**state, key.replace(".pair.", ".stack."): torch.zeros(2, 2)})
    with pytest.raises(InputError, match="not the state of an adaptation"):
        adaptation.load_state({})
    with pytest.raises(InputError, match="cannot be read"):
        adaptation.load_state({**state, "meta": state["meta"][:-3]})


def test_facts_of_a_state_are_plain_json():
    """Method, config, task and base hash can be read without this library."""
    state = adapt("gpt2", "slora", tasks=2).state()

    facts = json.loads(bytes(state["meta"].tolist()))

    assert facts["method"] == "slora"
    assert facts["config"]["magnitude"] == 0.8
    assert (facts["config"]["rank"], facts["config"]["ranks"]) == (3, [])
    assert facts["task"] == 1
    assert len(facts["base"]) == 32


def test_full_state_cannot_be_taken_while_the_base_is_live():
    """The numbers in the network are then not the trained ones."""
    adaptation = adapt("llama", "full", tasks=1)

    with adaptation.disabled(), pytest.raises(InputError, match="leave disabled"):
        adaptation.state()


def test_disabled_ends_when_the_block_raises():
    """An error inside leaves the adapted network, not the base."""
    adaptation = adapt("llama", "full", tasks=1)
    after = logits(adaptation.model)

    with pytest.raises(KeyError), adaptation.disabled():
        raise KeyError

    assert torch.equal(logits(adaptation.model), after)


def test_heads_inside_the_model_learn_and_are_no_part_of_the_base():
    """The output layer of a classifier can be the head: full training saves it once."""
    model = llama()
    adaptation = attach(model, "full", heads=model.lm_head)
    adaptation.begin_task(0)
    train_model(adaptation)

    assert "heads.weight" in adaptation.trainable()
    assert "model.lm_head.weight" not in adaptation.trainable()
    assert "model.lm_head.weight" not in adaptation.state()


def test_heads_inside_the_model_are_never_adapted():
    """Not even where their layers are among the targets."""
    model = llama()

    adaptation = attach(model, "lora", targets=["q_proj", "up_proj"], heads=model.model.layers[1])

    assert list(adaptation.layers) == [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.mlp.up_proj",
    ]


def test_a_layer_shared_by_two_parents_is_adapted_in_both():
    """One adapter, found from both places, and both are restored."""
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.Sequential(shared)})

    adaptation = attach(model, "lora", LoRAConfig(rank=2), targets="all-linear")

    assert list(adaptation.adapters) == ["a.0"]
    assert model["a"][0] is model["b"][0]
    adaptation.detach()
    assert model["a"][0] is model["b"][0] is shared


def test_a_second_attachment_is_refused_until_the_first_is_detached():
    """Adapters on adapters are never meant."""
    adaptation = adapt("gpt2", "lora")

    with pytest.raises(InputError, match="already carries adapters"):
        attach(adaptation.model, "lora", model_type="gpt2")
    attach(adaptation.detach(), "frozen")


def test_an_impossible_rank_leaves_the_model_untouched():
    """The message names the layer; no module was replaced and nothing frozen."""
    model = gpt2()

    with pytest.raises(InputError, match=r"layer 'transformer.h.0.attn.c_attn', whose weight is"):
        attach(model, "lora", LoRAConfig(rank=17), model_type="gpt2")

    assert type(model.transformer.h[0].attn.c_attn).__name__ == "Conv1D"
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_methods_and_settings_are_found_by_name():
    """Aliases are followed, nearest matches offered."""
    assert method_named("sdlora").name == "slora"
    assert configure("nlora", {"lam": 1.5}) == NLoRAConfig(lam=1.5)
    with pytest.raises(InputError, match="did you mean 'curlora'"):
        method_named("curlra")
    with pytest.raises(InputError, match=r"method.rnk: unknown option.*did you mean 'rank'"):
        configure("lora", {"rnk": 4})
    with pytest.raises(InputError, match="configured by LoRAConfig; got NLoRAConfig"):
        attach(llama(), "lora", NLoRAConfig(), model_type="llama")
    with pytest.raises(InputError, match="'head-only' trains heads only; pass heads"):
        attach(llama(), "head-only")


def test_bfloat16_backbones_keep_their_dtype_and_float32_adapters():
    """Output in bfloat16, gradients in float32."""
    model = llama(torch.bfloat16)
    adaptation = attach(model, "slora", model_type="llama")
    adaptation.begin_task(0)
    train_model(adaptation)

    assert model(input_ids=torch.arange(6)[None]).logits.dtype == torch.bfloat16
    assert {p.dtype for p in adaptation.trainable().values()} == {torch.float32}
    assert all(p.grad is not None for p in adaptation.trainable().values())
