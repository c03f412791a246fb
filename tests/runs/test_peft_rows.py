"""Whole runs of PEFT's own tuners: rows of the same tables as every other method."""

import json

import pytest
import torch
from peft import PeftModel

from continual.backbone import load_backbone
from continual.errors import InputError
from continual.interop.export import export_run
from continual.runs.assemble import run
from continual.runs.settings import resolve
from continual.studies.grid import Grid
from tests.backbone.conftest import SPECIAL, make_model, make_tokenizer
from tests.interop.tuners import TUNERS, VARIANTS
from tests.runs.test_run import CrashAt, CrashError, content
from tests.sequences import QUICK, small_scenario
from tests.suites import slow_or_soak

NEEDED = {  # beside PEFT's defaults, on the small embedded language model
    "adalora": {"total_step": 6},
    "adaption_prompt": {"adapter_len": 4, "adapter_layers": 2},
    "c3a": {"block_size": 32},
    "trainable_tokens": {"token_indices": [5, 6]},
    "vblora": {"vector_length": 32, "num_vectors": 16},
}
FAST = ("prefix_tuning",)
SLOW = (
    "adalora",
    "dora",
    "eva",
    "ia3",
    "kasa",
    "ln_tuning",
    "lora",
    "olora",
    "osf",
    "pissa",
    "vera",
)


def options(name: str, **more: object) -> dict[str, object]:
    """The settings of a short run."""
    own = NEEDED.get(name, VARIANTS.get(name, ("", {}))[1])
    return {**QUICK, "method": {**own, **more}}


@pytest.mark.parametrize("name", slow_or_soak(TUNERS, SLOW, FAST))
def test_every_tuner_runs_end_to_end(tmp_path, name):
    """R is full, the baseline is the backbone's, something was learned and it is on disk."""
    record = run(small_scenario(2), f"peft:{name}", out=tmp_path / "r", settings=options(name))
    matrix = record.matrix()
    costs = [event for event in record.events() if "trained_numbers" in event]
    nats = {
        row.experience: row.value for row in record.score_rows if row.metric == "nats_per_token"
    }
    base = run(small_scenario(2), "frozen", out=tmp_path / "f", settings=QUICK)

    assert record.complete
    assert ((matrix >= 0) & (matrix <= 1)).all()
    assert (record.baseline() == base.baseline()).all()
    assert costs[-1]["trained_numbers"] > 0
    assert costs[-1]["stored_numbers"] >= 1
    assert nats[-1] != nats[1]
    for after in ("after-00", "after-01"):
        assert {"README.md"} < {p.name for p in (tmp_path / "r" / "adapters" / after).iterdir()}


@pytest.mark.parametrize(
    ("name", "mode", "train"),
    [
        pytest.param("adalora", "through", {"micro_batch_size": 3}, marks=pytest.mark.slow),
        pytest.param("pissa", "merge", {}, marks=pytest.mark.slow),
        pytest.param("eva", "through", {}, marks=pytest.mark.slow),
        pytest.param("velora", "through", {}, marks=pytest.mark.slow),
        pytest.param("kasa", "merge", {}, marks=pytest.mark.slow),
        pytest.param("lora", "through", {}, marks=pytest.mark.slow),  # with dropout
        pytest.param("osf", "merge", {}, marks=pytest.mark.slow),
        pytest.param(
            "p_tuning", "per_task", {"early_stop": 1, "epochs": 2}, marks=pytest.mark.slow
        ),
    ],
)
def test_an_interrupted_run_equals_an_uninterrupted_one(tmp_path, name, mode, train):
    """Ended at many places and continued each time, it leaves the same bytes."""
    settings = options(name, mode=mode, **({"lora_dropout": 0.1} if name == "lora" else {}))
    settings["train"] = {**QUICK["train"], **train}
    method = f"peft:{VARIANTS.get(name, (name,))[0]}"
    run(small_scenario(2), method, out=tmp_path / "whole", settings=settings)
    torn, crashes = tmp_path / "torn", 0
    for n in (5, 9, 8, 10):
        try:
            run(small_scenario(2), method, out=torn, settings=settings, reporter=CrashAt(n))
            break
        except CrashError:
            crashes += 1
            torch.manual_seed(crashes)
    run(small_scenario(2), method, out=torn, settings=settings)

    assert crashes >= 3
    assert content(torn) == content(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "name", "more"),
    [
        ("t5", "lora", {}),
        ("t5", "osf", {}),
        ("bert", "eva", {"mode": "merge"}),
        ("bert", "lora", {"mode": "per_task"}),
        ("bert", "ln_tuning", {"mode": "merge", "targets": ["LayerNorm"]}),
        ("gpt2", "dora", {"mode": "merge"}),
        ("gpt2", "eva", {}),
        ("gpt2", "prompt_tuning", {"num_virtual_tokens": 4}),
        ("gpt2", "prefix_tuning", {"num_virtual_tokens": 4, "mode": "per_task"}),
        ("llama", "prefix_tuning", {"num_virtual_tokens": 4}),  # fewer heads of keys
    ],
)
def test_every_family_of_text_models_takes_tuners(tmp_path, family, name, more):
    """Encoders under heads, encoder-decoders, transposed weights, learned positions."""
    make_tokenizer(*SPECIAL[family]).save_pretrained(tmp_path / family)
    tokens = len(make_tokenizer(*SPECIAL[family]))
    make_model(family, tokens).save_pretrained(tmp_path / family)
    record = run(
        small_scenario(2),
        f"peft:{name}",
        out=tmp_path / "r",
        backbone=str(tmp_path / family),
        settings=options(name, **more),
    )
    saved = {path.name for path in (tmp_path / "r" / "adapters" / "after-01").iterdir()}
    merged = more.get("mode", "merge" if name == "osf" else "") == "merge"

    assert record.complete
    assert ("adapter_config.json" in saved) != merged
    assert ("heads.safetensors" in saved) == (family == "bert")


@pytest.mark.slow
def test_a_language_model_under_heads_takes_tuners(tmp_path):
    """Its features are those of the adapted model; a prompt is refused there."""
    settings = {**options("ia3"), "backbone": {"heads": True}}
    record = run(small_scenario(2), "peft:ia3", out=tmp_path / "r", settings=settings)

    assert record.complete
    assert (tmp_path / "r" / "adapters" / "after-01" / "heads.safetensors").exists()
    with pytest.raises(InputError, match="causal language model without heads"):
        run(small_scenario(2), "peft:p_tuning", out=tmp_path / "p", settings=settings)
    assert not (tmp_path / "p").exists()


def test_where_peft_knows_no_modules_the_user_names_them(tmp_path):
    """In our words: PEFT's field is not settable."""
    make_tokenizer(*SPECIAL["bert"]).save_pretrained(tmp_path / "bert")
    make_model("bert", len(make_tokenizer(*SPECIAL["bert"]))).save_pretrained(tmp_path / "bert")
    with pytest.raises(InputError, match=r"Here that is --set method.targets="):
        run(
            small_scenario(2),
            "peft:ln_tuning",
            out=tmp_path / "r",
            backbone=str(tmp_path / "bert"),
            settings=QUICK,
        )
    assert not (tmp_path / "r").exists()


def test_with_an_adapter_per_task_no_task_is_forgotten(tmp_path):
    """Every column of R is constant from its task on, and before it the backbone's."""
    settings = options("lora", mode="per_task")
    matrix = run(small_scenario(2), "peft:lora", out=tmp_path / "r", settings=settings).matrix()
    base = run(small_scenario(2), "frozen", out=tmp_path / "f", settings=QUICK).matrix()

    assert matrix[1, 0] == matrix[0, 0]
    assert matrix[0, 1] == base[0, 1]


@pytest.mark.parametrize("mode", ["through", pytest.param("merge", marks=pytest.mark.slow)])
def test_what_lies_in_the_adapters_folder_answers_as_the_run_did(tmp_path, mode):
    """PEFT's directory read by PEFT, or merged weights; ``continual export`` gives both."""
    settings = options("dora", mode=mode)
    out = tmp_path / "r"
    run(small_scenario(2), "peft:dora", out=out, settings=settings)
    saved = out / "adapters" / "after-01"
    merged = load_backbone(str(export_run(out, tmp_path / "merged", form="merged")))
    tokens = torch.arange(3, 15)[None]
    with torch.no_grad():
        found = merged.model(input_ids=tokens).logits
        if mode == "merge":
            expected = load_backbone(str(saved)).model(input_ids=tokens).logits
        else:
            peft = PeftModel.from_pretrained(load_backbone("tiny-lm").model, str(saved)).eval()
            expected = peft(input_ids=tokens).logits
        base = load_backbone("tiny-lm").model(input_ids=tokens).logits

    assert (found - expected).abs().max() < 1e-4
    assert (found - base).abs().max() > 1e-2
    assert (saved / "adapter_config.json").exists() == (mode == "through")
    assert "PEFT LORA" in (saved / "README.md").read_text()


def test_a_prompt_is_exported_as_it_is_and_never_merged(tmp_path):
    """There is no weight that it changes, and it is no LoRA."""
    settings = options("prompt_tuning", num_virtual_tokens=4)
    run(small_scenario(1), "peft:prompt_tuning", out=tmp_path / "r", settings=settings)
    saved = tmp_path / "r" / "adapters" / "after-00" / "adapter_config.json"

    assert json.loads(saved.read_text())["num_virtual_tokens"] == 4
    with pytest.raises(InputError, match="no change of weights"):
        export_run(tmp_path / "r", tmp_path / "m", form="merged")
    with pytest.raises(InputError, match="no exact low-rank form"):
        export_run(tmp_path / "r", tmp_path / "l", form="lora")


def test_what_makes_a_row_is_written_down(tmp_path):
    """The type, the mode and every field that was given; a study tells variants apart by them."""
    config, _ = _resolved("peft:rslora", {"r": 4, "targets": ["q_proj"]})
    grid = Grid.parse("lora,peft:lora:method.r=4:train.lr=0.01,peft:ia3", "0")

    assert config.method == "peft:rslora"
    assert config.targets == ["q_proj"]
    assert config.method_options == {
        "tuner": "LORA",
        "mode": "through",
        "fields": {"use_rslora": True, "r": 4},
    }
    assert config.train.lr == 0.003
    assert grid.methods[1] == "peft:lora:method.r=4:train.lr=0.01"
    assert _resolved("peft:osf", {})[0].train.lr == 0.001
    assert _resolved("peft:osf", {})[1].mode == "merge"


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("peft:lor", {}, "unknown tuner of PEFT 'lor'.*did you mean 'lora'"),
        ("peft:lora", {"lora_alhpa": 3}, "unknown field of PEFT's LORA.*mean 'lora_alpha'"),
        ("peft:lora", {"r": "many"}, "method.r: got 'many'; PEFT wants int"),
        ("peft:lora", {"r": True}, "method.r: got True; PEFT wants int"),
        ("peft:lora", {"mode": "trough"}, "did you mean 'through'"),
        ("peft:lora", {"target_modules": ["q_proj"]}, "give method.targets"),
        ("peft:lora", {"modules_to_save": ["lm_head"]}, "cannot be set here"),
        ("peft:lora", {"init_lora_weights": "eva"}, "use peft:eva"),
        ("peft:lora", {"init_lora_weights": "corda"}, "covariances of a pass over data"),
        ("peft:dora", {"use_dora": False}, "what makes peft:dora; use peft:lora"),
        ("peft:lora_ga", {}, "gradients of a pass over data"),
        ("peft:loftq", {}, "rounds the backbone for it with bitsandbytes"),
        ("peft:lora", {"eva_config": {"tau": 0.9}}, "use peft:eva"),
        ("peft:lora", {"velora_config": {"groups": 4}}, "PEFT wants a mapping of .'init_type'"),
        ("peft:lora", {"velora_config": 4}, "got 4; PEFT wants a mapping"),
        ("peft:lora", {"velora_config": {"init_type": "batch_average_once"}}, "is in no state"),
        ("peft:lora", {"velora_config": {"num_groups": 0}}, "should be positive, got 0"),
        ("peft:lora", {"monteclora_config": {}}, "into a buffer that is in no state"),
        ("peft:lora", {"corda_config": {}}, "covariances of a pass over data"),
        ("peft:lora", {"arrow_config": {}}, "mixes adapters that were trained before"),
        ("peft:eva", {"rank_pattern": {"q_proj": 2}}, "every layer r directions"),
        ("peft:eva", {"eva_config": {"rho": 2.0}}, "Ranks are not redistributed"),
        ("peft:eva", {"eva_config": {"use_label_mask": False}}, "no mask of labels"),
        ("peft:eva", {"eva_config": 3}, "got 3; give a mapping of .'tau', 'whiten'."),
        ("peft:xlora", {}, "cannot run here: it mixes adapters"),
        ("peft:adalora", {}, "AdaLoRA does not work when `total_step` is None"),
        ("peft:adamss", {"use_asa": True}, "outside of any state"),
        ("peft:pissa", {"train.weight_decay": 0.1}, "is part of the backbone's own weights"),
        ("peft:olora", {"train.weight_decay": 0.1}, "give train.weight_decay=0, or a method"),
        ("peft:lora", {"bias": "all", "train.weight_decay": 0.1}, "the backbone's own weights"),
        ("peft:lora", {"mode": "per_task", "ewc.lam": 1.0}, "ewc.lam would train for other tasks"),
        ("peft:lora", {"mode": "merge", "ewc.lam": 1.0}, "needs method.mode=through"),
        ("peft:lora", {"ewc.lam": 1.0, "ewc.fisher": "weights"}, "ewc.fisher=adapter"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_words(method, settings, message):
    """Before anything is loaded."""
    with pytest.raises(InputError, match=message):
        _resolved(method, settings)


def test_weight_decay_goes_with_tuners_that_begin_at_zero():
    """There it leads back to the backbone."""
    assert _resolved("peft:lora", {"train.weight_decay": 0.1})[0].train.weight_decay == 0.1


def _resolved(method, settings):
    sections = {"method": {}, "ewc": {}, "train": {}}
    for name, value in settings.items():
        section, _, field = name.rpartition(".")
        sections[section or "method"][field] = value
    return resolve(small_scenario(2), method, backbone=None, seed=0, settings=sections)
