"""PEFT's EVA in our loop: what it starts from, when it looks, and what it cannot start from."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.config import EvaConfig
from peft.tuners.lora.eva import initialize_lora_eva_weights
from torch.testing import assert_close

from continual.backbone import load_backbone
from continual.errors import InputError
from continual.interop.tuners.attach import attach_tuner
from continual.interop.tuners.settings import tuner_config
from tests.adapters.models import MODELS, TOKENS
from tests.backbone.conftest import SPECIAL, make_model, make_tokenizer
from tests.interop.tuners import TARGETS, learn, said, tuned

MASK = torch.ones_like(TOKENS)
MASK[0, 8:] = 0  # four positions of padding
BATCHES = [
    {"input_ids": TOKENS, "attention_mask": MASK},
    {"input_ids": (TOKENS * 7 + 3) % 31, "attention_mask": torch.ones_like(TOKENS)},
]


def shown(adaptation, batches=BATCHES):
    """Show it batches as the loop does."""
    with adaptation.looking(), torch.no_grad():
        for batch in batches:
            adaptation.model(**batch)


def starts(adaptation):
    """Where A stands in every layer, by PEFT's names."""
    return {
        name.removeprefix("adapters."): p.detach().clone()
        for name, p in adaptation.trainable().items()
        if "lora_A" in name
    }


@pytest.mark.filterwarnings("ignore:lora with eva")
@pytest.mark.parametrize("network", ["llama", "gpt2"])
def test_it_starts_where_peft_starts_it_by_hand(network):
    """From the same batches, of which one is padded: equal factors, and B is zero."""
    config = LoraConfig(
        r=4,
        target_modules=TARGETS[network],
        init_lora_weights="eva",
        eva_config=EvaConfig(rho=1.0),
        fan_in_fan_out=network == "gpt2",
    )
    theirs = get_peft_model(MODELS[network](), config)
    initialize_lora_eva_weights(theirs, BATCHES, show_progress_bar=False)
    ours = tuned("eva", network=network)
    ours.begin_task(0)
    drawn = starts(ours)
    shown(ours)

    expected = dict(theirs.named_parameters())
    for name, A in starts(ours).items():
        assert torch.equal(A, expected[name])
        assert not torch.equal(A, drawn[name])
    assert all(not p.any() for n, p in ours.trainable().items() if "lora_B" in n)


def test_what_stands_in_padded_positions_does_not_matter():
    """Other tokens behind the mask give the same directions; without a mask they count."""
    other = {"input_ids": torch.where(MASK > 0, TOKENS, 30), "attention_mask": MASK}
    found = []
    for batch in (BATCHES[0], other, {"input_ids": TOKENS}):
        adaptation = tuned("eva")
        adaptation.begin_task(0)
        shown(adaptation, [batch])
        found.append(starts(adaptation))

    for name in found[0]:
        assert_close(found[1][name], found[0][name], rtol=0, atol=0)
        assert not torch.equal(found[2][name], found[0][name])


def test_a_look_leaves_everything_else_as_it_was():
    """Modes, hooks, gradient flags, the function, and what PEFT writes into its folder."""
    adaptation = tuned("eva")
    adaptation.begin_task(0)
    adaptation.model.train()
    before = said(adaptation)
    learning = [p.requires_grad for p in adaptation.model.parameters()]
    config = adaptation.tuner.config.to_dict()
    shown(adaptation)

    assert torch.equal(said(adaptation), before)
    assert [p.requires_grad for p in adaptation.model.parameters()] == learning
    assert all(module.training for module in adaptation.model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in adaptation.model.modules())
    assert adaptation.tuner.config.to_dict() == config


@pytest.mark.parametrize("mode", ["through", "merge", "per_task"])
def test_it_looks_when_an_adapter_begins_and_only_then(mode):
    """Once in mode through; at every task in the others, merge with the past in the network."""
    adaptation = tuned("eva", mode)
    begun = []
    for task in range(2):
        adaptation.begin_task(task)
        assert bool(adaptation.looks_at) == (task == 0 or mode != "through")
        shown(adaptation)
        begun.append(starts(adaptation))
        learn(adaptation)
        now = starts(adaptation)
        shown(adaptation)  # nobody is waiting
        assert adaptation.looks_at == 0
        assert all(torch.equal(A, now[name]) for name, A in starts(adaptation).items())
    inner = [name for name in begun[0] if ".layers.1." in name]  # behind layers that have learned

    same = all(torch.equal(begun[0][name], begun[1][name]) for name in inner)
    assert same == (mode == "per_task")  # the same examples through the bare backbone


def test_a_restored_task_is_not_looked_at_again():
    """Its adapter has learned already; the next one looks."""
    source, target = tuned("eva", "merge", tasks=1), tuned("eva", "merge")
    target.load_state(source.state())
    assert target.looks_at == 0

    target.begin_task(1)
    assert target.looks_at > 0


def test_a_state_of_an_adapter_that_waits_still_waits():
    """A fork begins the tasks of another method without looking; its own first task counts."""
    source, target = tuned("eva"), tuned("eva", tasks=1)
    source.begin_task(0)
    target.load_state(source.state())
    target.begin_task(1)
    drawn = starts(target)
    shown(target)

    assert target.looks_at == 0
    assert all(not torch.equal(A, drawn[name]) for name, A in starts(target).items())


def test_joint_learning_looks_when_it_learns():
    """Tasks may begin without being learned; the adapter that goes through them still waits."""
    adaptation = tuned("eva")
    adaptation.begin_task(0)
    drawn = starts(adaptation)
    adaptation.begin_task(1)
    shown(adaptation)

    assert all(not torch.equal(A, drawn[name]) for name, A in starts(adaptation).items())


@pytest.mark.parametrize(("tokens", "tau"), [(TOKENS[:1, :3], 0.99), (TOKENS, 1.0)])
def test_examples_that_give_no_start_are_refused(tokens, tau):
    """Too few positions, or directions that never stay that still: PEFT would go on for ever."""
    adaptation = tuned("eva", eva_config={"tau": tau})
    adaptation.begin_task(0)
    drawn = starts(adaptation)
    with pytest.raises(InputError, match="no directions that stay in 100 passes"):
        shown(adaptation, [{"input_ids": tokens}])

    assert all(torch.equal(A, drawn[name]) for name, A in starts(adaptation).items())
    assert not any(m._forward_hooks for m in adaptation.model.modules())


def test_layers_narrower_than_r_are_refused(capsys):
    """In words, and PEFT prints nothing."""
    adaptation = tuned("eva", r=20)
    adaptation.begin_task(0)
    with pytest.raises(InputError, match="finds no start in the examples of this task"):
        shown(adaptation, [{"input_ids": TOKENS}])

    assert capsys.readouterr().out == ""


def test_an_encoder_decoder_is_refused(tmp_path):
    """Its decoder does not know which of its positions are padding."""
    make_tokenizer(*SPECIAL["t5"]).save_pretrained(tmp_path)
    make_model("t5", len(make_tokenizer(*SPECIAL["t5"]))).save_pretrained(tmp_path)
    backbone = load_backbone(str(tmp_path))
    with pytest.raises(InputError, match="the decoder of an encoder-decoder"):
        attach_tuner(backbone, "peft:eva", tuner_config("peft:eva", {}))


def test_the_user_may_say_how_much_a_direction_may_still_turn():
    """And nothing that would change ranks: rho stays 1."""
    config = tuner_config("peft:eva", {"r": 2, "eva_config": {"tau": 0.9}})

    assert config.fields["eva_config"] == {"tau": 0.9, "rho": 1.0}
