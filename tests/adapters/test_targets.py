"""Which layers are adapted, and what is said when there are none."""

import pytest
import torch
from torch import nn

from continual.adapters import DEFAULT_TARGETS, LoRAConfig, attach
from continual.adapters.targets import find_layers
from continual.errors import InputError
from tests.adapters.models import gpt2, llama

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "num_layers": 1,
    "pad_token_id": 0,
}


@pytest.mark.parametrize(
    "model_type",
    [
        "llama",
        "mistral",
        "qwen2",
        "gpt2",
        "gpt_neox",
        "opt",
        "t5",
        "bert",
        "roberta",
        "distilbert",
        "vit",
        "phi3",
        "bloom",
        "bart",
    ],
)
def test_default_targets_exist_in_transformers(model_type):
    """Every name of the table matches a layer of the real architecture, in every block."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(model_type)
    for key, value in SMALL.items():
        if key in vars(config) or key in config.attribute_map:
            setattr(config, key, value)
    with torch.device("meta"):
        model = AutoModel.from_config(config)

    found = find_layers(model, "default", model_type=model_type)

    last = {name.rpartition(".")[2] for name in found}
    assert last == set(DEFAULT_TARGETS[model_type])


def test_all_linear_leaves_the_output_head_out():
    """Seven layers per Llama block, four per GPT-2 block."""
    assert len(find_layers(llama(), "all-linear")) == 14
    assert len(find_layers(gpt2(), "all-linear")) == 8


def test_names_end_at_a_dot_and_expressions_match_whole_names():
    """A suffix may span several names; c_proj exists twice per block."""
    model = gpt2()

    assert len(find_layers(model, ["c_proj"])) == 4
    assert list(find_layers(model, ["0.mlp.c_proj"])) == ["transformer.h.0.mlp.c_proj"]
    assert list(find_layers(model, r"re:.*h\.1\.attn\.c_.*")) == [
        "transformer.h.1.attn.c_attn",
        "transformer.h.1.attn.c_proj",
    ]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            ["query"],
            r"attach found no linear layer ending in \('query',\); this backbone has "
            r"\['c_attn', 'c_fc', 'c_proj', 'lm_head'\]",
        ),
        (["c_attn", "proj"], "no linear layer ending in 'proj'"),
        ("re:attn", "no linear layer matching 're:attn'"),
        ("re:(", "is not a regular expression"),
        ([], "targets is empty"),
        ("default", "no default targets for a model without a model_type"),
    ],
)
def test_targets_without_a_layer_are_refused(targets, message):
    """The message says what this backbone has."""
    with pytest.raises(InputError, match=message):
        attach(gpt2(), "lora", targets=targets)


def test_an_unknown_architecture_is_answered_with_the_nearest():
    """And with the layers there are."""
    with pytest.raises(InputError, match=r"did you mean 'gpt2'.*'c_attn'"):
        attach(gpt2(), "lora", model_type="gpt2x")


def test_packed_weights_are_refused_by_name():
    """A quantised layer is a linear layer by class but not by its weight."""
    model = nn.Sequential(nn.Linear(4, 4))
    model[0].weight = nn.Parameter(torch.zeros(8, 1, dtype=torch.uint8), requires_grad=False)

    with pytest.raises(InputError, match=r"layer .0. holds a packed torch.uint8 weight"):
        attach(model, "lora", LoRAConfig(rank=2), targets="all-linear")


def test_layers_that_are_never_called_do_not_count():
    """The output projection of torch's own attention reads its weight directly."""
    with pytest.raises(InputError, match="found no linear layer in this MultiheadAttention"):
        attach(nn.MultiheadAttention(4, 2), "lora", targets="all-linear")
