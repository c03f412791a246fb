"""LoRTA against the published sum over heads, its counts, and what sharing means."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach, configure, count_trained
from continual.adapters.lorta import LoRTA, LoRTAConfig
from continual.errors import InputError
from tests.adapters.models import adapt, gpt2, llama, logits, site, train_adapter, train_model


def test_every_slice_is_the_published_one():
    """In the (inputs, outputs) layout, A diag(c^H_h c^M_k c^L_l) B for every head, side by side."""
    model = llama()
    config = LoRTAConfig(rank=5, alpha=10.0, head_size=4)
    adaptation = attach(model, "lorta", config, model_type="llama")
    adaptation.begin_task(0)
    train_model(adaptation)

    kinds = {}
    for name, adapter in adaptation.adapters.items():
        A, B = adapter.ends["A"].T, adapter.ends["B"].T  # the letters of the published code
        layer, kind = adapter.layer["layer"], adapter.kind["kind"]
        heads = [A @ torch.diag(share * kind * layer) @ B for share in adapter.ends["heads"]]
        expected = 2.0 * torch.cat(heads, dim=1).T
        assert expected.norm() > 1e-3
        assert_close(adapter.delta_weight(), expected, rtol=1e-5, atol=1e-7)
        kinds.setdefault(name.split(".")[-1], []).append(adapter)

    q, k, v = kinds["q_proj"], kinds["k_proj"], kinds["v_proj"]
    assert q[0].ends is q[1].ends
    assert k[0].ends is v[1].ends is not q[0].ends  # grouped heads: another shape
    assert k[0].layer is v[0].layer is not k[1].layer
    assert k[0].kind is k[1].kind is not v[0].kind


def test_factors_are_drawn_as_published():
    """Kaiming-uniform by fan r: A with a = √5, the shares with a = 0; B is zero."""
    adapter = LoRTA(site(60, 400), LoRTAConfig(rank=50, head_size=1))

    assert not adapter.ends["B"].any()
    for numbers, bound in (
        (adapter.ends["A"], 50**-0.5),
        (adapter.ends["heads"], (6 / 50) ** 0.5),
        (adapter.layer["layer"], (6 / 50) ** 0.5),
        (adapter.kind["kind"], (6 / 50) ** 0.5),
    ):
        assert 0.9 * bound < numbers.abs().max().item() <= bound


def test_counts_of_the_paper():
    """For a decoder of square weights r (d + d_h + H + L + 4): LLaMA-2-7B has 4,292 r."""
    names = [f"model.layers.{k}.self_attn.{w}_proj" for k in range(32) for w in "qkvo"]
    shapes = dict.fromkeys(names, (4096, 4096))

    split = LoRTA.shared_numbers(LoRTAConfig(rank=8, head_size=128), 0, shapes)
    whole = LoRTA.shared_numbers(LoRTAConfig(rank=8), 3, shapes)

    assert split == 8 * (4096 + 128 + 32 + 32 + 4)
    assert whole == 8 * (4096 + 4096 + 32 + 4)
    assert LoRTA.trained_numbers(4096, 4096, LoRTAConfig(), 0) == 0


@pytest.mark.parametrize("targets", ["default", "all-linear"])
@pytest.mark.parametrize("head_size", [None, 2])
@pytest.mark.parametrize(("name", "make"), [("llama", llama), ("gpt2", gpt2)])
def test_the_count_is_what_learns_and_what_is_saved(name, make, head_size, targets):
    """Every shape has a tensor, and a state holds each of its numbers once."""
    config = LoRTAConfig(rank=3, head_size=head_size)
    adaptation = attach(make(), "lorta", config, model_type=name, targets=targets)
    counted = count_trained(make(), "lorta", config, model_type=name, targets=targets)

    assert adaptation.trained_numbers() == counted.trained == adaptation.stored_numbers()
    assert len({a.delta_weight().shape for a in adaptation.adapters.values()}) >= (
        1 if (name, targets) == ("gpt2", "default") else 2
    )


def test_learning_at_one_weight_changes_the_others():
    """They are slices of one tensor."""
    adaptation = attach(llama(), "lorta", LoRTAConfig(rank=3), model_type="llama")
    first, *_, other = [a for n, a in adaptation.adapters.items() if "q_proj" in n]

    train_adapter(first, 16)

    assert other.delta_weight().norm() > 1e-3
    assert not torch.equal(first.delta_weight(), other.delta_weight())


def test_a_state_is_read_by_every_weight():
    """What several weights share lies under the name of the first and reaches all."""
    source, target = adapt("llama", "lorta", tasks=2), adapt("llama", "lorta", tasks=0)

    state = source.state()
    target.load_state(state)

    assert sum(name.endswith("ends.A") for name in state) == 2  # q, and k with v
    assert torch.equal(logits(source.model), logits(target.model))
    for adapter in target.adapters.values():
        nn.init.zeros_(adapter.ends["A"])
    assert not any(a.delta_weight().any() for a in target.adapters.values())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: LoRTAConfig(rank=0), "LoRTAConfig.rank must be an integer of at least 1; got 0"),
        (lambda: LoRTAConfig(alpha=-1.0), "LoRTAConfig.alpha must be a finite number above 0"),
        (lambda: LoRTAConfig(head_size=0), "LoRTAConfig.head_size must be an integer"),
        (lambda: configure("lorta", {"heads": 4}), "did you mean 'head_size'|unknown option"),
        (lambda: LoRTA(site(), LoRTAConfig(rank=2, head_size=2)), "layer 'layer', which has 7"),
        (lambda: LoRTA(site(), LoRTAConfig(rank=6)), "lorta of rank 6 does not fit layer 'layer'"),
        (
            lambda: LoRTA.shared_numbers(LoRTAConfig(head_size=2), 0, {"a": (7, 5)}),
            "layer 'a', which has 7 outputs",
        ),
    ],
)
def test_impossible_settings_are_refused(build, message):
    """With what is allowed and the layer's name."""
    with pytest.raises(InputError, match=message):
        build()
