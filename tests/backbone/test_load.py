"""Loading by name: families, options, errors that name the fix, silence."""

import json
import shutil

import pytest
import torch
import transformers

from continual.backbone import EMBEDDED, backbones, load_backbone
from continual.errors import InputError

from .conftest import competing, text_task


@pytest.mark.parametrize(
    ("name", "family", "kind"),
    [
        ("llama", "causal-lm", "llama"),
        ("gpt2", "causal-lm", "gpt2"),
        ("t5", "encoder-decoder", "t5"),
        ("bert", "encoder", "bert"),
        ("vit", "vision", "vit"),
    ],
)
def test_the_family_follows_from_the_configuration(backbone, name, family, kind):
    """A frozen model in evaluation mode, of the right family, without an untrained pooler."""
    model = backbone(name)

    assert (model.family, model.model_type) == (family, kind)
    assert not model.training
    assert not any(weight.requires_grad for weight in model.parameters())
    assert not [key for key in model.model.state_dict() if "pooler" in key]


def test_loading_prints_nothing(saved, capfd):
    """No progress bar, no warning; the library's verbosity is as it was afterwards."""
    transformers.utils.logging.set_verbosity_warning()

    load_backbone(str(saved("llama")))
    load_backbone(str(saved("bert")))

    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == transformers.logging.WARNING
    assert transformers.utils.logging.set_tqdm_hook(None) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float23"}, r"unknown dtype 'float23'.*did you mean 'float32'"),
        ({"attention": "sdp"}, r"unknown attention 'sdp'.*did you mean 'sdpa'"),
        ({"device": "gpu"}, r"device 'gpu' cannot be used here.*usable: \['cpu'"),
        ({"device": "meta"}, r"device 'meta' cannot be used here"),
        ({"max_length": 65}, r"max_length must be between 2 and 64 .* got 65"),
        ({"max_length": 1}, r"max_length must be between 2 and 64"),
    ],
)
def test_options_are_checked(backbone, options, message):
    """What was given, what is allowed, what may have been meant."""
    with pytest.raises(InputError, match=message):
        backbone("llama", **options)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_implementation_is_the_chosen_one(backbone, attention):
    """And both give the same nats."""
    model = backbone("llama", attention=attention)

    [found] = model.corpus(["The team won."], window=8, stride=8, batch_size=1)

    assert model.model.config._attn_implementation == attention
    [other] = backbone("llama").corpus(["The team won."], window=8, stride=8, batch_size=1)
    assert found.nats == pytest.approx(other.nats, rel=1e-5)


def test_a_model_that_cannot_be_reached_names_the_ways_out(monkeypatch):
    """Offline, the message mentions HF_HUB_OFFLINE, local directories and the nearest name."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(InputError) as caught:
        load_backbone("tiny-llm")

    for part in (
        "'tiny-llm'",
        "HF_HUB_OFFLINE is set",
        "local directory",
        "did you mean 'tiny-lm'",
    ):
        assert part in str(caught.value)


def test_a_missing_directory_is_not_looked_up_on_the_hub():
    """A path that does not exist is said to be one."""
    with pytest.raises(
        InputError, match=r"no directory '\./models/tiny-lm'.*did you mean 'tiny-lm'"
    ):
        load_backbone("./models/tiny-lm")


def test_a_directory_without_a_model_is_refused(tmp_path):
    """The message says what is missing."""
    with pytest.raises(InputError, match=r"holds no config\.json"):
        load_backbone(str(tmp_path))


def test_code_that_comes_with_a_model_needs_consent(saved, tmp_path):
    """Nothing is run unless the user trusts it."""
    path = tmp_path / "own"
    shutil.copytree(saved("llama"), path)
    config = json.loads((path / "config.json").read_text())
    config |= {"model_type": "mystery", "auto_map": {"AutoConfig": "code.Config"}}
    (path / "config.json").write_text(json.dumps(config))
    (path / "code.py").write_text("raise SystemExit('ran')\n")

    with pytest.raises(InputError, match="trust_remote_code=True"):
        load_backbone(str(path))


def test_a_model_in_the_hubs_cache_is_used_offline(saved, tmp_path, monkeypatch):
    """And says which commit it is; a revision is for models of the hub only."""
    commit = "0123456789" * 4
    cached = tmp_path / "models--org--llama"
    shutil.copytree(saved("llama"), cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "v1").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    assert load_backbone("org/llama", revision="v1").revision == commit
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set and it is not in the cache"):
        load_backbone("org/llama")
    with pytest.raises(InputError, match=r"revision='v1' means nothing"):
        load_backbone(str(saved("llama")), revision="v1")
    (cached / "snapshots" / commit / "model.safetensors").unlink()
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        load_backbone("org/llama", revision="v1")


def test_pickled_weights_are_not_read(saved, tmp_path):
    """They could run code; the message names what there is."""
    path = tmp_path / "old"
    shutil.copytree(saved("llama"), path)
    (path / "model.safetensors").rename(path / "pytorch_model.bin")

    with pytest.raises(InputError, match=r"no weights as safetensors, only \['pytorch_model\.bin'"):
        load_backbone(str(path))


def test_damaged_weights_are_an_input_error(saved, tmp_path):
    """Half a file is no model."""
    path = tmp_path / "half"
    shutil.copytree(saved("llama"), path)
    weights = (path / "model.safetensors").read_bytes()
    (path / "model.safetensors").write_bytes(weights[:1000])

    with pytest.raises(InputError, match="cannot read the files of backbone"):
        load_backbone(str(path))


def test_a_checkpoint_of_another_architecture_is_refused(saved, tmp_path):
    """Weights that are not there are not made up."""
    path = tmp_path / "half"
    shutil.copytree(saved("llama"), path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))

    with pytest.raises(InputError, match=r"lack \d+ of the tensors"):
        load_backbone(str(path))


def test_an_unsupported_family_is_refused(tmp_path):
    """The message lists the families."""
    config = {"model_type": "resnet", "architectures": ["ResNetForImageClassification"]}
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(InputError, match=r"none of the families.*CLS token"):
        load_backbone(str(tmp_path))


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_bfloat16_loads_and_scores(backbone, family):
    """Weights are bfloat16; the summed nats are near those of float32."""
    task = text_task()
    model, exact = backbone(family, dtype="bfloat16"), backbone(family)

    scores = []
    for one in (model, exact):
        encoded = one.encode(task, task.load().test)
        scores.append([row.nats for row in one.score(task, encoded, competing(task), 3)])

    assert next(model.model.parameters()).dtype == torch.bfloat16
    assert scores[0] == pytest.approx(scores[1], rel=0.1)
    total, _ = model.loss(encoded.batch(range(5)), None, False)
    assert total.dtype == torch.float32


def test_the_fingerprint_is_of_the_base(backbone):
    """Equal for equal weights, remembered through changes, different for other weights."""
    model, same = backbone("llama"), backbone("llama")
    before = model.fingerprint()
    with torch.no_grad():
        next(model.model.parameters()).add_(1.0)

    assert before == same.fingerprint() == model.fingerprint()
    assert before != backbone("llama", dtype="bfloat16").fingerprint()
    assert before != backbone("gpt2").fingerprint()


@pytest.mark.parametrize("family", ["llama", "gpt2", "t5", "bert", "vit"])
def test_a_saved_backbone_is_a_plain_transformers_directory(backbone, family, tmp_path):
    """Given a state, those weights are written; everything else is as it was loaded."""
    model = backbone(family)
    state = {key: value.clone() for key, value in model.model.state_dict().items()}
    changed = next(key for key in state if "norm" in key.lower() or "ln_" in key)
    state[changed] = state[changed] + 1.0

    model.save_pretrained(tmp_path / "merged", state)

    again = type(model.model).from_pretrained(tmp_path / "merged")
    found = again.state_dict()
    assert all(torch.equal(found[key], state[key]) for key in state)
    if family != "vit":
        tokens = transformers.AutoTokenizer.from_pretrained(tmp_path / "merged")("A dog.").input_ids
        assert tokens == model.codec.tokenizer("A dog.").input_ids


def test_embedded_backbones_are_listed_without_loading_them():
    """Name, family, parameters and path of what comes with the package."""
    rows = backbones()

    assert [row["name"] for row in rows] == list(EMBEDDED)
    assert all(row["parameters"] > 0 for row in rows)


def test_the_embedded_language_model_scores_a_few_examples():
    """tiny-lm ranks labels and has a perplexity far below that of its vocabulary."""
    model, task = load_backbone("tiny-lm", max_length=96), text_task()

    scored = model.score(task, model.encode(task, task.load().test), competing(task), 5)
    [one] = model.corpus(
        ["Return the number of items in a list."], window=64, stride=64, batch_size=1
    )

    assert len(scored) == 5
    assert one.nats / one.tokens < 7.0


def test_the_embedded_vision_model_scores_a_few_examples(grey_rows):
    """tiny-vit takes grey images of any size."""
    from .conftest import image_task

    model, task = load_backbone("tiny-vit"), image_task(grey_rows)
    candidates = competing(task)
    model.begin_experience(candidates, 0)

    scored = model.score(task, model.encode(task, task.load().test), candidates, 2)

    assert {one.prediction for one in scored} <= {"a", "b", "c"}
