"""The optimisers of low-rank pairs do what their papers claim."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from continual.adapters import LoRAConfig, attach
from continual.training import lora_pro
from continual.training.checkpoint import Position, load_checkpoint, save_checkpoint
from continual.training.config import TrainConfig
from continual.training.loop import learn
from continual.training.optimiser import (
    RULES,
    clip_gradients,
    load_optimiser_state,
    make_optimiser,
    optimiser_state,
)
from continual.training.pairs import pairs_of
from tests.adapters.models import (
    ADAPTERS,
    adapted,
    adapter_of,
    method_of,
    site,
    train_adapter,
)
from tests.adapters.models import One as Model
from tests.sequences import small_scenario
from tests.training.learners import learner

SCALE = 2.5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Small:
    """One adapted layer with a head beside it, in float64, and a target that it learns."""

    def __init__(self, kind: str, *, lr: float = 0.05, decay: float = 0.0):
        self.model, self.head = Model("linear").double(), nn.Linear(7, 2).double()
        config = LoRAConfig(rank=3, alpha=3 * SCALE)
        self.adaptation = attach(
            self.model, "lora", config, targets=["layer"], seed=4, heads=self.head
        )
        self.adaptation.begin_task(0)
        self.adaptation.adapters["layer"].double()
        with torch.no_grad():
            for k, parameter in enumerate(self.head.parameters()):
                parameter.copy_(random(*parameter.shape, seed=k))
        self.kind, self.lr, self.decay = kind, lr, decay
        self.restart()

    def restart(self) -> None:
        self.trainable = self.adaptation.trainable()
        self.pairs = pairs_of(self.adaptation)
        self.optimiser = make_optimiser(self.trainable, self.lr, self.decay, self.kind, self.pairs)

    @property
    def product(self) -> Tensor:
        return self.adaptation.adapters["layer"].delta_weight().detach().clone()

    def backward(self, step: int) -> None:
        x, target = random(16, 5, seed=step).double(), random(16, 2, seed=99 + step).double()
        self.optimiser.zero_grad()
        (self.head(self.model(x).tanh()) - target).square().mean().backward()

    def train(self, steps: range, clip: float | None = None) -> list[Tensor]:
        products = []
        for step in steps:
            self.backward(step)
            clip_gradients(self.adaptation, TrainConfig(optimiser=self.kind, clip=clip))
            self.optimiser.step()
            products.append(self.product)
        return products

    @torch.no_grad()
    def split(self, S: Tensor) -> None:
        """Write the same product as (B S, S⁻¹ A)."""
        pair = self.pairs[0]
        pair.B.copy_(pair.B @ S)
        pair.A.copy_(torch.linalg.solve(S, pair.A))


def paths(kind: str, learned: int, clip: float | None = None, decay: float = 0.0):
    """The products of eight steps from two splits of the same product."""
    found = []
    for S in (torch.eye(3), torch.eye(3) * 3 + random(3, 3, seed=7)):
        small = Small("adamw", decay=decay)
        small.train(range(learned))
        small.kind = kind
        small.split(S.double())
        small.restart()
        found.append(torch.stack(small.train(range(10, 18), clip)))
    return found


@pytest.mark.parametrize("learned", [0, 3], ids=["from zero", "later"])
@pytest.mark.parametrize("clip", [None, 0.01])
def test_rite_does_not_depend_on_how_the_product_is_split(learned, clip):
    """(B S, S⁻¹ A) is trained along the same B A, clipped or not, with decay."""
    one, other = paths("lora-rite", learned, clip, decay=0.1)

    assert one.diff(dim=0).norm(dim=(1, 2)).min() > 1e-2
    assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("clip", [None, 0.01])
def test_adamw_depends_on_it(clip):
    """What the invariance is worth: AdamW goes elsewhere from another split."""
    one, other = paths("adamw", 3, clip)

    assert (one[-1] - other[-1]).norm() > 0.1 * one[-1].norm()


def test_rite_lets_a_rest_while_b_is_zero():
    """The first step from B = 0 moves B alone."""
    small = Small("lora-rite")
    A = small.pairs[0].A.detach().clone()
    small.train(range(1))

    assert torch.equal(small.pairs[0].A, A)
    assert small.pairs[0].B.any()


def test_rite_makes_the_step_of_the_formula():
    """Second step against the formula, written with polar factors instead of QR."""
    small = Small("lora-rite", lr=0.01)
    small.train(range(3))
    small.restart()
    pair, moment, second, basis = small.pairs[0], torch.zeros(3, 5).double(), 0.0, None
    for step in range(3, 6):
        small.backward(step)
        B, A, gradient = pair.B.detach().clone(), pair.A.detach().clone(), pair.A.grad.clone()
        small.optimiser.step()
        L, values, Rt = torch.linalg.svd(B, full_matrices=False)
        U, R = L @ Rt, Rt.T @ values.diag() @ Rt
        P = torch.eye(3).double() if basis is None else U.T @ basis
        t = step - 2
        b1, b2 = (b * (1 - b ** (t - 1)) / (1 - b**t) for b in (0.9, 0.999))
        g = torch.linalg.solve(R.T, gradient)
        second = b2 * (P @ second @ P.T if basis is not None else 0.0) + (1 - b2) * g @ g.T / 5
        values, vectors = torch.linalg.eigh(second)
        root = vectors @ (1 / (values.sqrt() + 1e-6)).diag() @ vectors.T
        moment, basis = b1 * P @ moment + (1 - b1) * root @ g, U

        assert_close(pair.A.detach(), A - 0.01 * torch.linalg.solve(R, moment))


def test_pro_is_the_best_approximation_of_the_full_gradient():
    """No gA, gB come nearer to G, and of those that come as near these are nearest to ∇A, ∇B."""
    B, A, G = random(7, 3, seed=1).double(), random(3, 5, seed=2).double(), random(7, 5).double()
    gB, gA = lora_pro.adjusted(B, A, SCALE, SCALE * G @ A.T, SCALE * B.T @ G)
    of_gA = torch.kron(SCALE * B, torch.eye(5).double())
    of_gB = torch.kron(torch.eye(7).double(), SCALE * A.T.contiguous())
    design = torch.cat([of_gA, of_gB], dim=1)
    solution = torch.linalg.pinv(design) @ G.flatten()

    found = SCALE * (B @ gA + gB @ A)
    assert_close(found, (design @ solution).reshape(7, 5))
    assert (found - G).norm() > 0.1 * G.norm()
    # every (gA + Y A, gB - B Y) comes as near: its distance from ∇A, ∇B is least for Y = 0
    off_A, off_B = gA - SCALE * B.T @ G, gB - SCALE * G @ A.T
    assert_close(off_A @ A.T, B.T @ off_B, atol=1e-10, rtol=0)


def test_pro_from_zero_moves_b_alone_and_forgives_dependent_columns():
    """Where B has no inverse, what it does not span is not moved along; nothing is infinite."""
    A, G = random(3, 5, seed=2), random(7, 5)
    gB, gA = lora_pro.adjusted(torch.zeros(7, 3), A, SCALE, SCALE * G @ A.T, torch.zeros(3, 5))

    assert not gA.any()
    assert_close(gB, G @ torch.linalg.pinv(A) / SCALE, rtol=1e-4, atol=1e-5)

    B = random(7, 1, seed=1) @ torch.ones(1, 3)
    gB, gA = lora_pro.adjusted(B, A, SCALE, SCALE * G @ A.T, SCALE * B.T @ G)
    columns, rows = B @ torch.linalg.pinv(B), torch.linalg.pinv(A) @ A
    nearest = G - (torch.eye(7) - columns) @ G @ (torch.eye(5) - rows)

    assert_close(SCALE * (B @ gA + gB @ A), nearest, rtol=1e-3, atol=1e-4)


def test_pro_moves_the_product_as_adam_would_move_the_weight():
    """For a small rate, ΔW moves by -η times the projection of Adam's direction of g̃."""
    small = Small("lora-pro", lr=1e-7)
    small.train(range(1))
    with torch.no_grad():
        small.pairs[0].B.copy_(random(7, 3, seed=8))
    small.restart()
    B, A = small.pairs[0].B.detach().clone(), small.pairs[0].A.detach().clone()
    before = small.product
    small.backward(5)
    weight = small.adaptation.adapters["layer"].pair
    gB, gA = lora_pro.adjusted(B, A, SCALE, weight.B.grad, weight.A.grad)
    small.optimiser.step()
    columns, rows = B @ torch.linalg.pinv(B), torch.linalg.pinv(A) @ A
    sign = (SCALE * (B @ gA + gB @ A)).sign()  # Adam's first direction
    nearest = sign - (torch.eye(7) - columns) @ sign @ (torch.eye(5) - rows)

    assert_close((small.product - before) / -1e-7, nearest, rtol=1e-3, atol=1e-3)


def test_riemannian_preconditions_as_peft_does():
    """The same gradients, factors and δ give PEFT's preconditioned gradients."""
    riemannian = pytest.importorskip("peft.optimizers.riemannian")
    B, A = nn.Parameter(random(7, 3, seed=1)), nn.Parameter(random(3, 5, seed=2))
    B.grad, A.grad = random(7, 3, seed=3), random(3, 5, seed=4)
    riemannian._RiemannianPreconditioner([(A, B)], reg=1e-6).step()
    small = Small("riemannian")
    small.adaptation.adapters["layer"].float()
    pair = small.pairs[0]
    with torch.no_grad():
        pair.B.copy_(B)
        pair.A.copy_(A)
    pair.B.grad, pair.A.grad = random(7, 3, seed=3), random(3, 5, seed=4)
    RULES["riemannian"](small.optimiser, small.pairs)

    assert_close(pair.B.grad, B.grad, rtol=1e-5, atol=1e-6)
    assert_close(pair.A.grad, A.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", RULES)
def test_what_belongs_to_no_pair_is_updated_by_adamw(kind):
    """The head beside the pair, in the same step with the same gradient."""
    ours, plain = Small(kind, decay=0.1), Small("adamw", decay=0.1)
    ours.train(range(1))
    plain.train(range(1))

    assert torch.equal(ours.head.weight, plain.head.weight)
    assert ours.product.any()


@pytest.mark.parametrize("kind", RULES)
def test_pairs_are_found_in_any_order_of_the_parameters(kind):
    """Three steps with the parameters named backwards are the same three steps."""
    plain, turned = Small(kind), Small(kind)
    names = dict(zip(sorted(turned.trainable), sorted(turned.trainable)[::-1], strict=True))
    renamed = {names[name]: parameter for name, parameter in turned.trainable.items()}
    turned.optimiser = make_optimiser(renamed, turned.lr, 0.0, kind, turned.pairs)

    assert_close(turned.train(range(3))[-1], plain.train(range(3))[-1], rtol=0, atol=0)


@pytest.mark.parametrize("kind", RULES)
def test_they_learn(kind):
    """Forty steps on one batch lower the loss, from B = 0, in float32, and stay finite."""
    small = Small(kind, lr=0.02)
    small.model.float(), small.head.float()
    x, target = random(16, 5), random(16, 2, seed=99)
    losses = []
    for _ in range(40):
        small.optimiser.zero_grad()
        loss = (small.head(small.model(x).tanh()) - target).square().mean()
        loss.backward()
        small.optimiser.step()
        losses.append(float(loss.detach()))

    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", RULES)
def test_an_interrupted_optimiser_of_pairs_equals_an_uninterrupted_one(kind):
    """Six steps are three steps, a save to disk, a load elsewhere and three steps: bit for bit."""
    from safetensors.torch import load, save

    whole, first, second = Small(kind), Small(kind), Small(kind)
    whole.train(range(6))
    first.train(range(3))
    state = optimiser_state(first.optimiser, first.trainable)
    state = load(save({name: tensor.contiguous() for name, tensor in state.items()}))
    with torch.no_grad():
        for name, parameter in second.trainable.items():
            parameter.copy_(first.trainable[name])
    load_optimiser_state(second.optimiser, second.trainable, state)
    second.train(range(3, 6))

    assert all(torch.equal(p, second.trainable[n]) for n, p in whole.trainable.items())


@pytest.mark.parametrize(
    ("kind", "method"), [("lora-rite", "lora"), ("lora-pro", "slora"), ("riemannian", "olora")]
)
def test_training_continues_exactly_from_a_checkpoint_on_disk(tmp_path, kind, method):
    """From the second step of the second task on, another process would do the same."""
    saved = []
    settings = {"scenario": small_scenario(2), "optimiser": kind, "checkpoint_steps": 1}
    whole = replace(learner(method, **settings), save=saved.append)
    list(learn(whole))
    middle = Position(experience=1, step=1, phase="training")
    save_checkpoint(tmp_path, next(one for one in saved if one.position == middle))
    found, _ = load_checkpoint(tmp_path)
    continued = learner(method, **settings)
    list(learn(continued, found))

    assert continued.adaptation.state_hash() == whole.adaptation.state_hash()


@pytest.mark.parametrize("kind", RULES)
def test_forgotten_moments_of_a_pair_begin_anew(kind):
    """A method whose factors began anew drops their state; the next step is a first one."""
    small, fresh = Small(kind), Small(kind)
    small.train(range(3))
    with torch.no_grad():
        for name, parameter in small.trainable.items():
            parameter.copy_(fresh.trainable[name])
            small.optimiser.state.pop(parameter, None)
    small.train(range(5, 7))
    fresh.train(range(5, 7))

    assert all(torch.equal(p, fresh.trainable[n]) for n, p in small.trainable.items())


@pytest.mark.parametrize("method", ADAPTERS)
def test_every_adapter_knows_the_scale_of_its_pair(method):
    """Where ∂⟨G, ΔW⟩/∂A is a multiple of Bᵗ G, ``pair_scale`` is that multiple."""
    adaptation = adapted(method, Model("linear"), 2)
    G, compared = random(7, 5, seed=3), 0
    for pair in pairs_of(adaptation):
        cost = (G * pair.adapter.delta_weight()).sum()
        moved = torch.autograd.grad(cost, [pair.A, pair.B])
        for found, plain in zip(moved, (pair.B.detach().T @ G, G @ pair.A.detach().T), strict=True):
            multiple = float((found * plain).sum() / plain.square().sum())
            if (found - multiple * plain).norm() < 1e-4 * found.norm():
                assert pair.scale == pytest.approx(multiple, rel=1e-4)
                compared += 1

    assert compared == 2 or method_of(method) not in ("lora", "nlora", "slora", "per-task")


def test_only_pairs_that_learn_are_pairs():
    """Past pairs, cores and a pair with a frozen factor are none; a shared pair is one."""
    assert len(pairs_of(adapted("olora", Model("linear"), 3))) == 1
    assert pairs_of(adapted("curlora", Model("linear"), 1)) == []
    frozen = adapted("lora", Model("linear"), 1)
    frozen.adapters["layer"].pair.A.requires_grad_(False)

    assert pairs_of(frozen) == []
    assert train_adapter(adapter_of("lora", site()), 5).pair_scale() == 16.0 / 3
