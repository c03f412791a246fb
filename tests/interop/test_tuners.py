"""PEFT's own tuners, every one that the installed PEFT can build on a small Llama."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from continual.adapters import LoRAConfig, attach
from continual.backbone import load_backbone
from continual.errors import InputError
from continual.interop.tuners.adaptation import TunerAdaptation
from continual.interop.tuners.attach import attach_tuner
from continual.interop.tuners.names import (
    PRESETS,
    REFUSED,
    configs,
    holds_weights,
    known_tuners,
)
from continual.interop.tuners.settings import tuner_config, tuner_method
from tests.adapters.models import TOKENS, llama, logits, train_model
from tests.interop.tuners import (
    EVERY,
    MERGEABLE,
    MODES,
    PROMPTED,
    TARGETS,
    TRIED,
    TUNERS,
    UNMERGEABLE,
    kept_elsewhere,
    learn,
    said,
    tuned,
)

ROOT = Path(__file__).parents[2]

FAST = {  # one of every kind; the others are in the slow suite
    "adalora": "through",
    "eva": "per_task",
    "lora": "merge",
    "pissa": "per_task",
    "prompt_tuning": "through",
}


def _slow_but(fast, *values):
    return pytest.param(*values, marks=[] if fast else pytest.mark.slow)


every_tuner = pytest.mark.parametrize("name", [_slow_but(n in FAST, n) for n in EVERY])
every_mode = pytest.mark.parametrize(
    ("name", "mode"), [_slow_but(FAST.get(n) == mode, n, mode) for n, mode in MODES]
)
NOT_IDENTITY = [
    *PROMPTED,
    "c3a",
    "fourierft",
    "kasa",
    "unilora",
    "vblora",
]  # at their first numbers
RESIDUAL = ["kasa", "olora", "pissa"]  # take a part of W out
REBUILT = 1e-5  # residuals of an SVD: W is put together again


def test_every_type_of_the_installed_peft_was_tried_or_is_refused():
    """A type that PEFT adds is noticed here, and one that it drops."""
    page = (ROOT / "docs" / "methods" / "peft.md").read_text()
    named = set(re.findall(r"`([a-z0-9_]+)`", page))

    assert set(TUNERS) == TRIED
    assert {name.upper() for name in TRIED - set(PRESETS)} | set(REFUSED) == set(configs())
    assert set(known_tuners()) <= named


@every_tuner
def test_before_the_first_task_the_backbone_answers(name):
    """Bit for bit; and when the task begins, the tuners that promise it change nothing."""
    before = logits(llama())
    adaptation = tuned(name)

    assert torch.equal(said(adaptation), before)
    first = adaptation.state_hash()
    adaptation.begin_task(0)
    away = (said(adaptation) - before).abs().max()
    assert (away < REBUILT) == (name not in NOT_IDENTITY)
    assert adaptation.state_hash() != first  # the function is another one


@every_tuner
def test_as_many_numbers_learn_as_peft_says_and_no_others_move(name):
    """PEFT's own count, and 8 of the heads."""
    adaptation = tuned(name, tasks=1)
    counted = adaptation.tuner.model.get_nb_trainable_parameters()[0]
    frozen = {n: p.clone() for n, p in adaptation.model.named_parameters() if not p.requires_grad}
    trained = {n: p.detach().clone() for n, p in adaptation.trainable().items()}
    learn(adaptation)

    assert adaptation.trained_numbers() == counted + 8
    assert all(
        torch.equal(p, frozen[n]) for n, p in adaptation.model.named_parameters() if n in frozen
    )
    moved = [not torch.equal(p, trained[n]) for n, p in adaptation.trainable().items()]
    assert any(moved[:-2])


@every_tuner
def test_it_is_known_where_weight_decay_would_erase_the_backbone(name):
    """A new adapter whose numbers are a tenth smaller is the backbone no more: refused in runs."""
    adaptation, base = tuned(name), logits(llama())
    adaptation.begin_task(0)
    with torch.no_grad():
        for key, parameter in adaptation.trainable().items():
            parameter.mul_(0.9 if key.startswith("adapters.") else 1.0)
    away = (said(adaptation) - base).abs().max() > REBUILT

    held = holds_weights(adaptation.config.tuner, adaptation.config.fields)
    assert held == (bool(away) and name not in NOT_IDENTITY)


@every_mode
def test_a_state_is_complete(name, mode):
    """Another adaptation that did other things becomes it, and both learn on bit for bit."""
    source = tuned(name, mode, tasks=2)
    target = tuned(name, mode, tasks=1)
    torch.manual_seed(99)
    state = source.state()
    target.load_state(state)

    assert torch.equal(said(target), said(source))
    assert target.state_hash() == source.state_hash()
    assert sum(t.numel() for key, t in state.items() if key != "meta") == source.stored_numbers()
    for adaptation in (source, target):
        torch.manual_seed(7)
        learn(adaptation)
        adaptation.begin_task(2)
        learn(adaptation)
    assert torch.equal(said(target), said(source))
    assert target.state_hash() == source.state_hash()


@every_mode
def test_disabled_means_base_and_detach_gives_it_back(name, mode):
    """Exactly the base inside, exactly the adapted network after, nothing unfrozen."""
    base, model = logits(llama()), llama()
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    kinds = [type(module) for module in model.modules()]
    adaptation = tuned(name, mode, tasks=2)
    after, key = said(adaptation), adaptation.state_hash()
    learning = [p.requires_grad for p in adaptation.model.parameters()]

    with adaptation.disabled():
        assert torch.equal(said(adaptation), base)
        with adaptation.disabled():
            assert torch.equal(said(adaptation), base)
        assert torch.equal(said(adaptation), base)
        with pytest.raises(InputError, match=r"leave disabled\(\)"):
            adaptation.state()

    assert torch.equal(said(adaptation), after)
    assert not torch.equal(after, base)
    assert adaptation.state_hash() == key
    assert [p.requires_grad for p in adaptation.model.parameters()] == learning

    adaptation.detach()
    assert torch.equal(said(adaptation), base)
    assert {n: p.requires_grad for n, p in adaptation.model.named_parameters()} == flags
    assert [type(module) for module in adaptation.model.modules()] == kinds
    assert vars(adaptation.model).keys() == vars(model).keys()


@every_tuner
def test_through_and_per_task_forget_nothing_when_a_task_begins(name):
    """The same adapter goes on, or the finished one is put aside and asked for by its task."""
    through, own = tuned(name, tasks=1), tuned(name, "per_task", tasks=1)
    before, mine = said(through), said(own)
    through.begin_task(1)
    own.begin_task(1)
    learn(own, seed=1)

    assert torch.equal(said(through), before)
    assert not torch.equal(said(own), mine)
    with own.serving(0):
        assert torch.equal(said(own), mine)
    with own.serving(2):
        assert torch.equal(said(own), logits(llama()))


@pytest.mark.parametrize("name", [_slow_but(n in FAST, n) for n in MERGEABLE])
def test_merging_forgets_nothing_when_a_task_begins(name):
    """W + ΔW is the function that was learned, and the new adapter is the identity on it."""
    adaptation = tuned(name, "merge", tasks=1)
    before = said(adaptation)
    assert (before - logits(llama())).abs().max() > 1e-4

    adaptation.begin_task(1)
    with adaptation.unwrapped():
        if name not in RESIDUAL:
            assert_close(said(adaptation), before, rtol=REBUILT, atol=REBUILT)
    if name not in NOT_IDENTITY:
        assert_close(said(adaptation), before, rtol=REBUILT, atol=REBUILT)
    flags = {name for name, p in adaptation.model.named_parameters() if p.requires_grad}
    assert len(flags) == len(adaptation.trainable()) - 2


@pytest.mark.parametrize("name", [_slow_but(n in FAST, n) for n in UNMERGEABLE])
def test_what_cannot_be_merged_is_refused_in_mode_merge(name):
    """Before anything is written; the network stays as it was."""
    with pytest.raises(InputError, match="PEFT cannot merge"):
        tuned(name, "merge")


@every_tuner
def test_what_is_saved_is_what_peft_loads(name, tmp_path):
    """PEFT's own directory, read by PEFT alone; or the merged weights."""
    adaptation = tuned(name, tasks=1)
    expected = said(adaptation)
    if adaptation.installed.is_merged:
        fresh = llama()
        fresh.load_state_dict(adaptation.installed.merged(), strict=False)
    else:
        before = {key: t.clone() for key, t in adaptation.state().items()}
        adaptation.tuner.save(tmp_path, "nowhere")
        fresh = PeftModel.from_pretrained(llama(), str(tmp_path)).eval()
        assert all(torch.equal(before[key], t) for key, t in adaptation.state().items())

    with torch.no_grad():
        found = fresh(input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS)).logits
    assert_close(found[:, -TOKENS.shape[1] :], expected, rtol=REBUILT, atol=REBUILT)


@every_tuner
def test_nothing_outside_of_peft_s_modules_depends_on_the_seed(name):
    """Such tensors are in no state: they must come out the same for every task and process."""
    first, second = tuned(name, "per_task"), tuned(name, "per_task", tasks=2)
    with first.tuner.placed(True):
        before, after = (kept_elsewhere(one.tuner.model) for one in (first, second))

    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.slow
def test_state_survives_a_fresh_process(tmp_path):
    """Through files, under other random state, for every tuner and mode."""
    outputs = {}
    for name, mode in MODES:
        adaptation = tuned(name, mode, tasks=2)
        save_file(adaptation.state(), tmp_path / f"{name}-{mode}.safetensors")
        outputs[f"{name}-{mode}"] = said(adaptation).contiguous()
    save_file(outputs, tmp_path / "outputs.safetensors")

    code = f"from tests.interop.tuners import check; check({str(tmp_path)!r})"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == dict.fromkeys(outputs, True)


def test_lora_learns_as_ours_does_from_the_same_factors():
    """Three steps of AdamW from the same B and A: the same numbers to rounding."""
    theirs = tuned("lora", r=3, lora_alpha=6)
    ours = attach(
        llama(),
        "lora",
        LoRAConfig(rank=3, alpha=6.0),
        targets=TARGETS["llama"],
        seed=1,
        heads=nn.Linear(3, 2),
    )
    for adaptation in (theirs, ours):
        adaptation.begin_task(0)
    named = theirs.trainable()
    for site, adapter in ours.adapters.items():
        factors = dict(adapter.named_parameters())
        with torch.no_grad():
            for letter, factor in zip("BA", adapter.factors(), strict=True):
                name = f"adapters.base_model.model.{site}.lora_{letter}.default.weight"
                named[name].copy_(factor / (adapter.scale if letter == "B" else 1.0))
        assert sum(p.numel() for p in factors.values()) > 0
    with torch.no_grad():
        for mine, other in zip(ours.heads.parameters(), theirs.heads.parameters(), strict=True):
            other.copy_(mine)
    before = said(theirs)

    for adaptation in (theirs, ours):
        train_model(adaptation)

    assert (said(theirs) - before).abs().max() > 1e-2
    assert_close(said(theirs), logits(ours.model), rtol=1e-6, atol=1e-6)
    assert theirs.trained_numbers() == ours.trained_numbers()


def test_the_penalty_of_adalora_is_what_peft_adds_to_the_loss():
    """Its wrapper's forward pass, which the loop does not go through."""
    adaptation = tuned("adalora", tasks=1)
    wrapper, bare = adaptation.tuner.model, adaptation.model
    with torch.no_grad():
        added = wrapper(input_ids=TOKENS, labels=TOKENS).loss - bare(TOKENS, labels=TOKENS).loss

    assert float(added) > 0.1
    assert_close(adaptation.penalty().detach(), added, rtol=1e-5, atol=1e-6)


def test_the_penalty_of_kasa_is_added():
    """β ‖c‖² + γ (‖BᵗB − I‖ + ‖AAᵗ − I‖) of every layer, which PEFT leaves to the loop."""
    adaptation = tuned("kasa", tasks=1)
    expected, eye = 0.0, torch.eye(4)
    named = {name: p.detach() for name, p in adaptation.trainable().items()}
    for name, diagonal in named.items():
        if "lora_diag" in name:
            site = name.removesuffix("lora_diag.default")
            A, B = (named[f"{site}lora_{one}.default.weight"] for one in "AB")
            apart = torch.linalg.norm(B.T @ B - eye) + torch.linalg.norm(A @ A.T - eye)
            expected += 0.01 * diagonal.square().sum() + 0.01 * apart

    assert float(expected) > 0.1
    assert_close(adaptation.penalty().detach(), expected, rtol=1e-5, atol=1e-6)


def test_adalora_leaves_as_many_ranks_as_it_is_told():
    """12 factors' pairs of rank 4 shrink to 2 each by step total_step - tfinal."""
    adaptation = tuned("adalora", total_step=4, tfinal=1)
    adaptation.begin_task(0)
    learn(adaptation, steps=5)
    left = [int((p != 0).sum()) for n, p in adaptation.trainable().items() if ".lora_E." in n]

    assert sum(left) == 2 * len(left)


@pytest.mark.parametrize("name", PROMPTED)
def test_a_prompt_is_what_peft_puts_in_front(name):
    """Without padding, the hook and PEFT's own forward pass say the same."""
    adaptation = tuned(name, tasks=1)
    expected = said(adaptation)
    with adaptation.unwrapped(), torch.no_grad():
        theirs = adaptation.tuner.model(input_ids=TOKENS, attention_mask=torch.ones_like(TOKENS))

    assert_close(theirs.logits[:, -TOKENS.shape[1] :], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", PROMPTED)
def test_padding_is_invisible_behind_a_prompt(name):
    """Text that is padded on the left by masked tokens is read as without."""
    adaptation = tuned(name, tasks=1)
    padded = torch.cat([torch.zeros(2, 3, dtype=torch.long), TOKENS], dim=1)
    mask = torch.cat([torch.zeros(2, 3, dtype=torch.long), torch.ones_like(TOKENS)], dim=1)
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        found = adaptation.model(input_ids=padded, attention_mask=mask, position_ids=positions)
        alone = adaptation.model(
            input_ids=TOKENS,
            attention_mask=torch.ones_like(TOKENS),
            position_ids=torch.arange(TOKENS.shape[1]).expand(2, -1),
        )

    length = TOKENS.shape[1]
    assert_close(found.logits[:, -length:], alone.logits[:, -length:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["lora", "pissa", "olora"])
def test_merging_is_in_float32_whatever_the_backbone_is(name):
    """Twelve tasks of small changes on a bfloat16 backbone lose nothing to rounding."""
    narrow = torch.bfloat16
    changes = []
    adaptation = TunerAdaptation(
        model=llama(narrow),
        method=tuner_method(f"peft:{name}"),
        config=tuner_config(f"peft:{name}", {"mode": "merge", "r": 2}),
        heads=None,
        target_modules=["q_proj"],
        task_type="CAUSAL_LM",
        seed=5,
    )
    place = "model.layers.0.self_attn.q_proj.weight"

    def product():
        named = {n: p for n, p in adaptation.trainable().items() if "layers.0." in n}
        A, B = (next(p for n, p in named.items() if f"lora_{x}" in n).detach() for x in "AB")
        return 4.0 * B @ A

    first = adaptation.installed.merged()[place]
    for task in range(12):
        adaptation.begin_task(task)
        before = product()
        for key, parameter in adaptation.trainable().items():
            parameter.data = parameter.data + (0.003 if "lora_B" in key else 0.01)
        changes.append(product() - before)
    whole = adaptation.installed.merged()[place] - first

    assert all(p.dtype == torch.float32 for p in adaptation.trainable().values())
    assert_close(whole, sum(changes), rtol=1e-3, atol=1e-6)
    rounded = first.to(narrow)
    for change in changes:
        rounded = (rounded.float() + change).to(narrow)
    assert (rounded.float() - first - sum(changes)).abs().max() > 10 * (
        whole - sum(changes)
    ).abs().max()


def test_a_tied_weight_is_not_merged():
    """The output layer of a model that shares it with its embeddings."""
    backbone = load_backbone("tiny-lm")
    config = tuner_config("peft:lora", {"mode": "merge"})
    with pytest.raises(InputError, match="shared with a module that PEFT adapts"):
        attach_tuner(backbone, "peft:lora", config, targets=["lm_head"])
    assert not any(type(m).__module__.startswith("peft.") for m in backbone.model.modules())


@pytest.mark.parametrize(
    ("backbone", "name", "settings", "targets", "message"),
    [
        (
            "tiny-vit",
            "prompt_tuning",
            {},
            "default",
            "a causal language model reads; backbone 'tiny-vit'",
        ),
        ("tiny-lm", "prompt_tuning", {}, "all-linear", "takes no targets; got 'all-linear'"),
        ("tiny-lm", "p_tuning", {"num_virtual_tokens": 510}, "default", "leave 2 of the 512"),
        ("tiny-lm", "c3a", {}, "default", "PEFT cannot put C3A on this backbone: The block size"),
        ("tiny-lm", "lora", {}, ["nothing"], "attach found no linear layer ending in"),
        ("tiny-lm", "lora", {"r": 0}, "default", "PEFT cannot put LORA on this backbone"),
    ],
)
def test_what_does_not_fit_the_backbone_is_refused(backbone, name, settings, targets, message):
    """In words, and the backbone is as it was."""
    loaded = load_backbone(backbone)
    limit = getattr(loaded, "limit", None)
    kinds = [type(module) for module in loaded.model.modules()]
    config = tuner_config(f"peft:{name}", settings)
    with pytest.raises(InputError, match=message):
        attach_tuner(loaded, f"peft:{name}", config, targets=targets)

    assert [type(module) for module in loaded.model.modules()] == kinds
    assert not loaded.model._forward_pre_hooks
    assert getattr(loaded, "limit", None) == limit


def test_a_prompt_takes_positions_and_adapters_are_not_put_on_twice():
    """20 of 512 positions; a second tuner is refused."""
    backbone = load_backbone("tiny-lm")
    config = tuner_config("peft:prompt_tuning", {})
    attach_tuner(backbone, "peft:prompt_tuning", config)
    plain = load_backbone("tiny-lm")
    attach_tuner(plain, "peft:lora", tuner_config("peft:lora", {})).begin_task(0)

    assert backbone.limit == 492
    with pytest.raises(InputError, match="already carries adapters"):
        attach_tuner(plain, "peft:ia3", tuner_config("peft:ia3", {}))


def test_targets_are_the_layers_that_our_methods_adapt():
    """By default the same query, key and value projections as for ``lora``."""
    ours, theirs = load_backbone("tiny-lm"), load_backbone("tiny-lm")
    mine = attach(ours.model, "lora", model_type="llama", heads=ours.heads)
    tuner = attach_tuner(theirs, "peft:lora", tuner_config("peft:lora", {})).tuner
    replaced = {id(old) for _, _, old, _ in tuner.places}

    named = {name for name, module in theirs.model.named_modules() if id(module) in replaced}
    assert named == set(mine.layers)
    assert isinstance(tuner.config, LoraConfig)


def test_peft_draws_from_the_seed_and_leaves_the_global_generator_alone():
    """Equal seeds give equal numbers under any random state; the next draw is as if never."""
    hashes = []
    for state, seed in ((3, 0), (4, 0), (3, 1)):
        backbone = load_backbone("tiny-lm")
        torch.manual_seed(state)
        expected = torch.rand(1)
        torch.manual_seed(state)
        config = tuner_config("peft:lora", {})
        hashes.append(attach_tuner(backbone, "peft:lora", config, seed=seed).state_hash())

        assert torch.equal(torch.rand(1), expected)
    assert hashes[0] == hashes[1] != hashes[2]
