"""What a run learned serves without us: plain peft and plain transformers load it."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from continual.adapters import METHODS, attach
from continual.backbone import EMBEDDED, load_backbone
from continual.errors import InputError
from continual.interop.export import export_run
from continual.runs.assemble import run
from continual.training.checkpoint import load_checkpoint
from tests.sequences import QUICK, small_scenario

TEXT = "the sun is hot and honey is sweet\nAnswer:"
PLAIN = """
import sys
import torch
{guard}
from transformers import AutoModelForCausalLM, AutoTokenizer
from safetensors.torch import save_file
base, adapter, out, text = sys.argv[1:]
tokens = AutoTokenizer.from_pretrained(base)(text, return_tensors="pt", add_special_tokens=False)
if adapter != "none":
    from peft import PeftModel
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, adapter)
else:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
with torch.inference_mode():
    save_file({{"logits": model.eval()(tokens.input_ids).logits.clone()}}, out)
assert not [name for name in sys.modules if name.split(".")[0] == "continual"]
"""
# What every user of a CPU-only torch beside torchvision has to do, with or without us.
GUARD = """
try:
    import torchvision
except RuntimeError:
    for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")
    for op in ("nms", "qnms"):
        library.define(op + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def plain_logits(base, adapter, out) -> torch.Tensor:
    """Return the logits that a process without this package computes."""
    code = PLAIN.format(guard=GUARD)
    subprocess.run(
        [sys.executable, "-c", code, str(base), str(adapter), str(out), TEXT],
        check=True,
        cwd=out.parent,
        timeout=300,
    )
    return load_file(out)["logits"]


def our_logits(folder, method: str | None) -> torch.Tensor:
    """Return the logits of the state in a run's last checkpoint; of the base without a method."""
    backbone = load_backbone("tiny-lm")
    if method is not None:
        adaptation = attach(backbone.model, method, model_type=backbone.model_type)
        checkpoint, _ = load_checkpoint(folder / "checkpoints")
        saved = {n: t for n, t in checkpoint.tensors.items() if n.startswith("state|")}
        adaptation.load_state({n.removeprefix("state|"): t for n, t in saved.items()})
    ids = backbone.codec.tokenizer(TEXT, return_tensors="pt", add_special_tokens=False).input_ids
    with torch.inference_mode():
        return backbone.model(ids).logits


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One finished run per method that is asked for, trained enough to move the logits."""
    made = {}

    def make(method: str):
        if method not in made:
            made[method] = tmp_path_factory.mktemp("runs") / method
            settings = QUICK | {"train": {"batch_size": 8, "lr": 0.001}}
            if method == "full":
                settings = QUICK | {"train": {"batch_size": 8, "lr": 1e-4}}
            run(small_scenario(2), method, out=made[method], settings=settings)
        return made[method]

    return make


@pytest.mark.slow
@pytest.mark.parametrize("method", ["curlora", "nlora", "slora"])
def test_plain_peft_computes_the_same_logits(runs, tmp_path, method):
    """A process that never imports this package agrees to 1e-5 in float32."""
    folder = runs(method)
    export_run(folder, tmp_path / "lora", form="lora")
    theirs = plain_logits(EMBEDDED["tiny-lm"], tmp_path / "lora", tmp_path / "logits")
    ours = our_logits(folder, method)
    base = our_logits(folder, None)

    assert (theirs - ours).abs().max() <= 1e-5
    assert (base - ours).abs().max() > 1e-3  # it did learn


@pytest.mark.slow
@pytest.mark.parametrize("method", ["slora", "full"])
def test_a_merged_model_is_a_plain_transformers_model(runs, tmp_path, method):
    """The merged weights alone give the same logits, within rounding of the merge."""
    folder = runs(method)
    export_run(folder, tmp_path / "merged", form="merged")
    theirs = plain_logits(tmp_path / "merged", "none", tmp_path / "logits")

    assert (theirs - our_logits(folder, method)).abs().max() <= 1e-4


def test_an_earlier_state_can_be_exported(runs, tmp_path):
    """--after K is the state after experience K; the rank of S-LoRA's export grows with it."""
    first = export_run(runs("slora"), tmp_path / "a", form="lora", after=0)
    last = export_run(runs("slora"), tmp_path / "b", form="lora")
    ranks = [
        next(t for n, t in load_file(path / "adapter_model.safetensors").items() if "lora_A" in n)
        for path in (first, last)
    ]

    assert [len(A) for A in ranks] == [8, 16]


@pytest.mark.parametrize(
    ("method", "form", "after", "message"),
    [
        ("full", "lora", None, "no exact low-rank form"),
        ("frozen", "lora", None, "nothing to export"),
        ("frozen", "merged", None, "nothing to export"),
        ("slora", "lora", 7, r"no state after experience 7; it has \[0, 1\]"),
    ],
)
def test_exports_that_do_not_exist(runs, tmp_path, method, form, after, message):
    """Each says what there is, and writes nothing."""
    with pytest.raises(InputError, match=message):
        export_run(runs(method), tmp_path / "out", form=form, after=after)

    assert not (tmp_path / "out").exists()


def test_an_export_overwrites_nothing(runs, tmp_path):
    """A directory with something in it is left as it is."""
    (tmp_path / "notes").write_text("precious")
    with pytest.raises(InputError, match="not an empty directory"):
        export_run(runs("slora"), tmp_path, form="lora")

    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_every_method_says_whether_it_has_a_lora_form():
    """The registry and the adapters agree."""
    for method in METHODS.values():
        assert method.lora_export <= (method.trains == "adapters")
