"""Trained numbers from a configuration alone, against the papers' own figures."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from continual.adapters import METHODS, attach, configure, count_trained
from continual.cli import app
from continual.errors import InputError
from tests.adapters.models import ADAPTER_METHODS, MODELS

CONFIGS = {
    "mistral-7b": {
        "model_type": "mistral",
        "architectures": ["MistralForCausalLM"],
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 32000,
    },
    "gpt2-large": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": 1280,
        "n_layer": 36,
        "n_head": 20,
    },
    "t5-large": {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "d_model": 1024,
        "d_kv": 64,
        "d_ff": 4096,
        "num_layers": 24,
        "num_heads": 16,
        "is_encoder_decoder": True,
    },
}


@pytest.mark.parametrize(
    ("method", "model", "targets", "settings", "trained"),
    [
        ("curlora", "mistral-7b", "q_proj,k_proj,v_proj", ["rank=16"], 24_576),
        ("lora", "mistral-7b", "q_proj,k_proj,v_proj", ["rank=16"], 9_437_184),
        ("curlora", "gpt2-large", "c_attn", ["rank=8"], 2_304),
        ("curlora", "gpt2-large", "c_attn", ["rank=24"], 20_736),
        ("lora", "gpt2-large", "c_attn", ["method.rank=8"], 1_474_560),
        ("nlora", "t5-large", "q,v", ["rank=8"], 2_359_296),
        ("frozen", "t5-large", "", [], 0),
    ],
)
def test_counts_of_the_papers(tmp_path, method, model, targets, settings, trained):
    """CURLoRA's table 1, N-LoRA's 2.36 M a task; LoRA as its formula has it."""
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS[model]))
    arguments = ["count", method, "--config", str(tmp_path), "--json"]
    arguments += ["--target", targets] if targets else []
    for setting in settings:
        arguments += ["--set", setting]

    done = CliRunner().invoke(app, arguments)

    assert json.loads(done.stdout)["trained"] == trained


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ADAPTER_METHODS)
def test_the_count_is_what_then_learns(method, name):
    """In the first task and in the third."""
    config = configure(method, {"rank": 3})
    counts = {
        task: count_trained(MODELS[name](), method, config, model_type=name, task=task)
        for task in (0, 2)
    }
    adaptation = attach(MODELS[name](), method, config, model_type=name)

    for task in range(3):
        adaptation.begin_task(task)
        if task in counts:
            assert adaptation.trained_numbers() == counts[task].trained
    assert counts[0].layers == len(adaptation.layers)


def test_shared_magnitudes_are_counted_once():
    """Two numbers during the second task, whatever the number of layers."""
    model, settings = MODELS["llama"](), {"rank": 3, "boundary": "restart"}
    own = count_trained(model, "slora", configure("slora", settings), model_type="llama", task=1)
    shared = count_trained(
        model,
        "slora",
        configure("slora", settings | {"magnitudes": "shared"}),
        model_type="llama",
        task=1,
    )

    assert own.trained - shared.trained == 2 * own.layers - 2


def test_full_trains_the_model_and_the_sentence_says_so():
    """For people."""
    done = CliRunner().invoke(app, ["count", "full", "--config", "tiny-lm"])

    assert "full trains 2,557,632 numbers" in done.stdout
    assert METHODS["full"].trains == "everything"


def test_a_rank_that_no_layer_holds_is_not_counted():
    """As attach would refuse it."""
    done = CliRunner().invoke(app, ["count", "lora", "--config", "tiny-lm", "--set", "rank=9999"])

    assert done.exit_code != 0
    assert "rank 9999 does not fit" in str(done.exception)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("prilora", {"rank": 8, "growth": 0.5}),  # 12 in the last block, whose values have 8 rows
        ("melora", {"rank": 3, "parts": 9}),
        ("clora", {"rank": 3, "k": 8}),
    ],
)
def test_what_attach_refuses_for_the_shapes_is_not_counted(method, settings):
    """With the same words."""
    config, said = configure(method, settings), []
    for ask in (attach, count_trained):
        with pytest.raises(InputError, match=r"layer 'model\.layers\.") as refused:
            ask(MODELS["llama"](), method, config, model_type="llama")
        said.append(str(refused.value))

    assert said[0] == said[1]


def test_every_method_has_a_row_and_a_page():
    """In the table of methods, by its name, with a link to a page that is there."""
    docs = Path(__file__).parents[2] / "docs" / "methods"
    table = (docs / "index.md").read_text().split("\n## ")[0]
    pages = dict(re.findall(r"\[`([\w-]+)`\]\(([\w-]+\.md)\)", table))

    assert set(METHODS) <= pages.keys()
    assert all((docs / pages[name]).is_file() for name in METHODS)


def test_methods_are_listed_with_what_they_train_on_a_backbone():
    """Paper, what learns, numbers, task needed, export."""
    done = CliRunner().invoke(app, ["list", "methods", "--backbone", "tiny-lm", "--json"])
    rows = {row["name"]: row for row in json.loads(done.stdout)}

    assert rows.keys() == METHODS.keys()
    assert rows["full"]["trained"] == 2_557_632
    assert rows["curlora"]["trained"] % 16**2 == 0
    assert [name for name, row in rows.items() if row["needs_task"]] == ["per-task", "mtl-lora"]
    assert rows["slora"]["learns"] == "A, B of the task, all α"
    assert rows["full"]["export"] == "merged"
