"""What is exported is what the network computes, in libraries that have never heard of this one."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close

from continual.adapters import METHODS, LoRAConfig, attach
from continual.errors import InputError
from continual.interop.peft import export_lora, export_merged, merged_state
from tests.adapters.models import ADAPTER_METHODS, MODELS, TOKENS, adapt, config_of, each, logits

PLAIN_PEFT = """
import json, sys
sys.path.insert(0, {root!r})
from continual._torchvision import ensure_torchvision  # only for this machine's CPU wheels
ensure_torchvision()
for name in [n for n in sys.modules if n.split(".")[0] == "continual"]:
    del sys.modules[name]
sys.path.remove({root!r})
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
worst = {{}}
for case, expected in load_file({folder!r} + "/logits.safetensors").items():
    model = AutoModelForCausalLM.from_pretrained({folder!r} + "/base-" + case.split("-")[0])
    loaded = PeftModel.from_pretrained(model, {folder!r} + "/" + case).eval()
    with torch.no_grad():
        output = loaded(input_ids=torch.arange(24).reshape(2, 12) % 31).logits
    worst[case] = (output - expected).abs().max().item()
assert not any(name.split(".")[0] == "continual" for name in sys.modules)
print(json.dumps(worst))
"""


@pytest.mark.slow  # another process imports peft and transformers
def test_plain_peft_gives_the_same_outputs(tmp_path, pytestconfig):
    """After three tasks, for every method with a low-rank form, on Linear and Conv1D backbones."""
    expected = {}
    for name in MODELS:
        MODELS[name]().save_pretrained(tmp_path / f"base-{name}")
        for method in [m for m in ADAPTER_METHODS if METHODS[m].lora_export]:
            adaptation = adapt(name, method, tasks=3)
            export_lora(
                adaptation,
                tmp_path / f"{name}-{method}",
                base_model=str(tmp_path / f"base-{name}"),
                task_type="CAUSAL_LM",
            )
            expected[f"{name}-{method}"] = logits(adaptation.model)
            with adaptation.disabled():
                assert (logits(adaptation.model) - expected[f"{name}-{method}"]).abs().max() > 1e-3
    save_file(expected, tmp_path / "logits.safetensors")

    program = PLAIN_PEFT.format(root=str(pytestconfig.rootpath), folder=str(tmp_path))
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path
    )

    assert run.returncode == 0, run.stderr
    worst = json.loads(run.stdout.splitlines()[-1])
    assert worst.keys() == expected.keys()
    assert max(worst.values()) <= 1e-5


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", each([*ADAPTER_METHODS, "full", "frozen"]))
def test_merged_weights_give_the_same_outputs_in_plain_transformers(name, method, tmp_path):
    """Under the original names; the live network and its state do not change."""
    adaptation = adapt(name, method, tasks=2)
    before, key = logits(adaptation.model), adaptation.state_hash()

    export_merged(adaptation, save_of(adaptation), tmp_path / "merged")
    loaded = type(adaptation.model).from_pretrained(tmp_path / "merged").eval()

    assert_close(logits(loaded), before, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits(adaptation.model), before)
    assert adaptation.state_hash() == key


def test_merging_into_bfloat16_rounds_once():
    """W + ΔW is summed in float32."""
    model = MODELS["gpt2"](torch.bfloat16)
    adaptation = attach(model, "lora", config_of("lora"), model_type="gpt2")
    name, layer = next(iter(adaptation.layers.items()))
    nn.init.normal_(adaptation.adapters[name].pair.B, std=0.01)

    merged = merged_state(adaptation)[f"{name}.weight"]

    exact = layer.weight.double() + adaptation.adapters[name].delta_weight().double().T
    assert torch.equal(merged, exact.float().to(torch.bfloat16))


def test_layers_that_no_suffix_tells_apart_are_named_in_full(tmp_path):
    """GPT-2 has two c_proj per block; adapting one of them must not load into the other."""
    model = MODELS["gpt2"]()
    adaptation = attach(model, "lora", LoRAConfig(rank=2), targets=["attn.c_proj"])
    export_lora(adaptation, tmp_path / "a", base_model="x")
    adaptation.detach()
    both = attach(model, "lora", LoRAConfig(rank=2), targets=["c_proj"])
    export_lora(both, tmp_path / "b", base_model="x")

    def targets(folder):
        return json.loads((tmp_path / folder / "adapter_config.json").read_text())["target_modules"]

    assert targets("a") == ["transformer.h.0.attn.c_proj", "transformer.h.1.attn.c_proj"]
    assert targets("b") == ["c_proj"]


def test_heads_travel_beside_the_adapter(tmp_path):
    """Under their own names, bit for bit, and the card says so."""
    adaptation = adapt("llama", "curlora", tasks=1)
    export_lora(adaptation, tmp_path / "out", base_model="a/b")

    heads = load_file(tmp_path / "out" / "heads.safetensors")

    assert heads.keys() == {"weight", "bias"}
    assert torch.equal(heads["weight"], adaptation.heads.weight)
    assert "heads.safetensors" in (tmp_path / "out" / "README.md").read_text()


def test_an_export_replaces_an_earlier_export_and_nothing_else(tmp_path):
    """A directory with other content stays as it is; a failure leaves the earlier export."""
    adaptation = adapt("llama", "lora", tasks=1)
    out = tmp_path / "deep" / "out"
    for _ in range(2):
        export_lora(adaptation, out, base_model="x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")

    with pytest.raises(InputError, match="exists and was not written by an export"):
        export_lora(adaptation, tmp_path / "mine", base_model="x")
    with pytest.raises(OSError, match="full"):
        export_merged(adaptation, _full_disk, out)

    assert [path.name for path in tmp_path.joinpath("deep").iterdir()] == ["out"]
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "heads.safetensors",
    ]
    assert type(adaptation.model.model.layers[0].self_attn.q_proj).__name__ == "AdaptedLinear"


@pytest.mark.parametrize("method", ["full", "frozen", "head-only"])
def test_methods_without_an_adapter_say_what_to_do(method, tmp_path):
    """The way on is in the message, and nothing is written."""
    with pytest.raises(InputError, match="use --to merged"):
        export_lora(adapt("llama", method), tmp_path / "out", base_model="x")
    assert not (tmp_path / "out").exists()


def test_a_tied_weight_cannot_be_merged():
    """GPT-2's output layer is its embedding."""
    adaptation = attach(MODELS["gpt2"](), "lora", LoRAConfig(rank=2), targets=["lm_head"])

    with pytest.raises(InputError, match=r"'lm_head' is also 'transformer.wte.weight'"):
        merged_state(adaptation)


def save_of(adaptation):
    """What a backbone offers: write these weights as a transformers directory."""
    return lambda folder, state: adaptation.model.save_pretrained(folder, state_dict=state)


def _full_disk(folder, state):
    raise OSError("the disk is full")


def test_the_fixed_tokens_are_those_of_the_other_process():
    """The subprocess cannot import them from here."""
    assert torch.equal(TOKENS, torch.arange(24).reshape(2, 12) % 31)
