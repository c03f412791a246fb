"""GLoRA against its formula entry by entry, against PEFT, and what a supernet promises."""

import itertools

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from continual.adapters import attach
from continual.adapters.base import Site
from continual.adapters.glora import GLoRA, GLoRAConfig
from continual.adapters.paths import KINDS
from continual.errors import InputError
from continual.interop.peft import merged_state
from tests.adapters.models import One, adapt, adapted, inputs, logits, site, train_adapter
from tests.adapters.test_laws import products

SUPERNET = GLoRAConfig(rank=3, supernet=True)


def filled(where: Site, config: GLoRAConfig) -> GLoRA:
    """An adapter with random numbers throughout."""
    adapter = GLoRA(where, config).eval()
    generator = torch.Generator().manual_seed(7)
    for parameter in adapter.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    return adapter


def entry(numbers: dict, letter: str, kind: str, i: int, j: int) -> float:
    """One entry of a path's tensor, as the paper's table has it."""
    if kind == "none":
        return 0.0
    down = numbers[f"paths.{letter}d"]
    if kind == "lora":
        up = numbers[f"paths.{letter}u"]
        return sum(down[i][k] * up[k][j] for k in range(len(up)))
    return down[i][0] if kind == "vector" else down[0][0]


def by_hand(where: Site, numbers: dict, kinds: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """The whole weight and bias, one entry after the other, in float64."""
    W, b = where.weight.double(), where.bias.double()
    m, n = W.shape
    weight, bias = torch.zeros(m, n).double(), torch.zeros(m).double()
    for i in range(m):
        for j in range(n):
            A, B = (entry(numbers, letter, kinds[letter], i, j) for letter in "AB")
            weight[i, j] = W[i, j] + W[i, j] * A + B
        D, E = (entry(numbers, letter, kinds[letter], i, 0) for letter in "DE")
        C = sum(W[i, j] * entry(numbers, "C", kinds["C"], j, 0) for j in range(n))
        bias[i] = b[i] + b[i] * D + E + C
    return weight, bias


def test_every_combination_of_kinds_is_the_formula():
    """All 432 from one supernet, so all kinds of a letter share one tensor."""
    where = site(3, 2)
    adapter = filled(where, GLoRAConfig(rank=2, supernet=True))
    numbers = {name: tensor.tolist() for name, tensor in adapter.state_dict().items()}
    x = torch.randn(5, 2, generator=torch.Generator().manual_seed(1))
    y = x @ where.weight.T + where.bias
    choices = adapter.choices()
    seen = set()
    for pick in itertools.product(*map(range, choices.sizes)):
        choices.take(pick)
        kinds = adapter.paths.taken
        seen.add(tuple(kinds.values()))
        weight, bias = by_hand(where, numbers, kinds)
        with torch.no_grad():
            assert_close(adapter(x, y).double(), x.double() @ weight.T + bias, rtol=1e-5, atol=1e-5)
            assert_close(adapter.delta_weight().double(), weight - where.weight, rtol=0, atol=1e-6)
            changed = adapter.delta_bias()
        changed = torch.zeros(3) if changed is None else changed
        assert_close(changed.double(), bias - where.bias, rtol=0, atol=1e-6)

    assert len(seen) == 432


@pytest.mark.parametrize("kind", KINDS["A"])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_pefts_glora(kind, bias):
    """The same factors give the same output, for every configuration that PEFT has."""
    import peft

    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    base = nn.Linear(6, 9, bias=bias)
    for c, d in itertools.product(KINDS["C"], KINDS["D"]):
        if kind == "none" and (not bias or c == d == "none"):
            continue  # nothing would learn; see the refusals
        theirs = peft.get_peft_model(
            nn.Sequential(nn.Linear(6, 9, bias=bias)),
            peft.GloraConfig(r=3, target_modules=["0"], config_A_B=kind, config_C=c, config_D_E=d),
        )
        layer = theirs.base_model.model[0]
        layer.base_layer.load_state_dict(base.state_dict())
        where = Site(name="0", weight=base.weight.data, share=1.0, seed=0, bias=bias_of(base))
        adapter = filled(where, GLoRAConfig(rank=3, a=kind, b=kind, c=c, d=d, e=d))
        for name, parameter in adapter.paths.named_parameters():
            path = getattr(layer, f"glora_{name[0]}")["default"]
            same = {"d": "Xd", "u": "Xu"}[name[1]] if hasattr(path, "Xd") else "X"
            held = getattr(path, same)
            held.data = parameter.data.reshape(held.shape).clone()
        with torch.no_grad():
            expected = theirs(x)
            found = adapter(x, base(x))

        assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))
        assert not torch.allclose(found, base(x), atol=1e-2)


def bias_of(layer: nn.Linear) -> torch.Tensor | None:
    """The bias of a layer, without gradient."""
    return None if layer.bias is None else layer.bias.data


@pytest.mark.parametrize("method", ["glora", "glora vectors", "glora supernet"])
@pytest.mark.parametrize("kind", ["linear", "linear without bias", "conv1d", "square conv1d"])
def test_merging_is_exact_and_gives_no_layer_a_bias(method, kind):
    """W_eff and b_eff in a plain layer answer as the adapted one."""
    model = One(kind)
    x = inputs(model)
    adaptation = adapted(method, model, 2)
    learned = model(x).detach()
    merged = merged_state(adaptation)
    plain = One(kind)

    assert merged.keys() == plain.state_dict().keys()
    if "layer.bias" in merged:
        assert not torch.equal(merged["layer.bias"], plain.layer.bias)
    plain.load_state_dict(merged)
    assert_close(plain(x).detach(), learned, rtol=1e-6, atol=1e-6 * float(learned.abs().max()))


def test_an_entry_of_minus_one_in_a_is_no_harm():
    """Where 1 + A is zero, dividing W_eff by it would give W back as infinity."""
    model = One("linear")
    x = inputs(model)
    before = model(x).detach()
    config = GLoRAConfig(a="constant", b="none", c="none", d="none", e="none")
    adaptation = attach(model, "glora", config, targets=["layer"])
    nn.init.constant_(adaptation.adapters["layer"].paths.get_parameter("Ad"), -1.0)

    assert_close(model(x).detach(), model.layer.bias.expand_as(before), atol=1e-5, rtol=0)
    with adaptation.disabled():
        assert torch.equal(model(x), before)
    assert torch.equal(adaptation.detach()(x), before)


def test_it_starts_as_peft_starts():
    """Every Xd is zero; Xu is Kaiming-uniform with a = √5, so bounded by 1/√n."""
    adapter = GLoRA(site(40, 400), GLoRAConfig(rank=32))
    Xu = adapter.paths.get_parameter("Bu").detach()

    assert not any(p.any() for name, p in adapter.named_parameters() if name.endswith("d"))
    assert 0.99 / 20 < Xu.abs().max().item() <= 1 / 20
    assert Xu.std().item() == pytest.approx(1 / 20 / 3**0.5, rel=0.02)
    assert not torch.equal(Xu, adapter.paths.get_parameter("Au"))


def test_trained_numbers_by_hand():
    """At 7 × 5 and rank 3: 2·36 for A and B; 18, 7 and 7 for C, D and E."""
    bare = Site(name="layer", weight=torch.ones(7, 5), share=1.0, seed=0)
    cases = {
        GLoRAConfig(rank=3): (72, 32),
        SUPERNET: (72, 32),
        GLoRAConfig(rank=3, a="vector", b="constant", c="vector", d="none"): (8, 12),
        GLoRAConfig(rank=3, a="none", c="none", e="constant"): (36, 8),
    }
    for config, (weight, bias) in cases.items():
        assert GLoRA.trained_numbers(7, 5, config, 0) == weight
        assert GLoRA.bias_numbers(7, 5, config, 0) == bias
        assert sum(p.numel() for p in GLoRA(site(), config).parameters()) == weight + bias
        assert sum(p.numel() for p in GLoRA(bare, config).parameters()) == weight


def test_vectors_and_constants_cost_no_matrix_product():
    """The frozen layer's own x Wᵗ and a sum over the inputs do."""
    x, y = torch.randn(4, 5), torch.randn(4, 7)
    cheap = GLoRAConfig(rank=3, a="vector", b="constant", c="none", d="constant", e="vector")

    assert products(lambda: GLoRA(site(), cheap)(x, y)) == 0
    assert products(lambda: GLoRA(site(), GLoRAConfig(rank=3))(x, y)) == 4


def test_a_step_of_a_supernet_learns_what_it_drew():
    """Gradients reach the drawn kinds only, in every micro-batch the same; then it is as before."""
    adapter = GLoRA(site(), SUPERNET)
    x = torch.randn(6, 5)
    torch.manual_seed(0)
    drawn = set()
    for _ in range(40):
        adapter.before_step()
        kinds = dict(adapter.paths.drawn)
        adapter.zero_grad(set_to_none=True)
        first, second = adapter(x[:3], torch.ones(3, 7)), adapter(x[3:], torch.ones(3, 7))
        assert torch.equal(torch.cat([first, second]), adapter(x, torch.ones(6, 7)))
        (first.square().sum() + second.square().sum()).backward()
        reached = {n[6:] for n, p in adapter.named_parameters() if p.grad is not None}
        expected = {f"{letter}d" for letter, kind in kinds.items() if kind != "none"}
        expected |= {f"{letter}u" for letter, kind in kinds.items() if kind == "lora"}
        assert reached == expected
        adapter.after_step(0.1)
        assert adapter.paths.kind("A") == "lora"
        drawn.add(tuple(kinds.values()))

    assert len(drawn) > 30


def test_draws_are_uniform_but_never_nothing():
    """Every combination of a layer without bias except four times none, each about as often."""
    bare = Site(name="layer", weight=torch.ones(7, 5), share=1.0, seed=0)
    adapter = GLoRA(bare, SUPERNET)
    torch.manual_seed(0)
    counts = {}
    for _ in range(3000):
        adapter.before_step()
        kinds = tuple(adapter.paths.drawn.values())
        counts[kinds] = counts.get(kinds, 0) + 1

    assert set(counts) == set(itertools.product(KINDS["A"], KINDS["B"])) - {("none", "none")}
    assert 140 < min(counts.values()) <= max(counts.values()) < 260


def test_whoever_asks_within_a_step_gets_the_kinds_that_answer():
    """As a teacher does; drawn kinds are for learning."""
    adapter = train_adapter(GLoRA(site(), SUPERNET), 5, steps=12)
    x, y = torch.randn(4, 5), torch.randn(4, 7)
    answers = adapter.eval()(x, y)
    torch.manual_seed(1)
    adapter.before_step()

    assert torch.equal(adapter.eval()(x, y), answers)
    assert not torch.equal(adapter.train()(x, y), answers)


def test_a_fixed_configuration_draws_nothing():
    """The global generator is left alone."""
    adapter = GLoRA(site(), GLoRAConfig(rank=3))
    before = torch.get_rng_state()
    adapter.before_step()

    assert torch.equal(torch.get_rng_state(), before)
    assert adapter.paths.drawn is None


def test_the_kinds_that_were_taken_are_part_of_the_state_and_outlive_a_boundary():
    """Another pick is another function, the same one when loaded elsewhere and in the next task."""
    source = adapt("gpt2", "glora supernet", tasks=2)
    widest, key = logits(source.model), source.state_hash()
    for k, adapter in enumerate(source.adapters.values()):
        adapter.choices().take((1 + k, 3, 1, 2, 0))
    narrow = logits(source.model)
    target = adapt("gpt2", "glora supernet", tasks=1)
    target.load_state(source.state())

    assert not torch.allclose(narrow, widest)
    assert source.state_hash() != key
    assert torch.equal(logits(target.model), narrow)
    assert [a.choices().now for a in target.adapters.values()] == [(1, 3, 1, 2, 0), (2, 3, 1, 2, 0)]
    target.begin_task(2)
    assert torch.equal(logits(target.model), narrow)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"a": "vectors"}, "GLoRAConfig.a.*did you mean 'vector'"),
        ({"c": "constant"}, "GLoRAConfig.c"),
        ({"d": "lora"}, "GLoRAConfig.d"),
        ({"rank": 0}, "GLoRAConfig.rank must be an integer of at least 1"),
        (dict.fromkeys("abcde", "none"), "nothing would learn"),
        ({"supernet": True, "b": "none"}, "supernet uses every kind"),
        ({"limit": 100}, "give supernet=true"),
        ({"population": 50}, "give supernet=true"),
        ({"supernet": True, "population": 1}, "population must be an integer of at least 2"),
        ({"supernet": True, "generations": 0}, "generations must be an integer of at least 1"),
        ({"supernet": True, "mutation": 1.5}, "mutation is a probability"),
        ({"supernet": True, "limit": 0}, "limit must be an integer of at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings, message):
    """With what is allowed, or what to leave out."""
    with pytest.raises(InputError, match=message):
        GLoRAConfig(**settings)


def test_a_layer_of_which_nothing_would_change_is_refused():
    """It has no bias, and the weight is to stay."""
    bare = Site(name="q_proj", weight=torch.ones(7, 5), share=1.0, seed=0)

    with pytest.raises(InputError, match=r"'q_proj' has none\. Give a or b another kind"):
        GLoRA(bare, GLoRAConfig(rank=3, a="none", b="none"))
