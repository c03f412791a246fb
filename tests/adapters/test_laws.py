"""The laws of the adapter contract, for every registered method and both kinds of linear layer."""

from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from continual.adapters import METHODS, attach
from tests.adapters.models import (
    ADAPTERS,
    RESTARTS,
    One,
    adapted,
    adapter_of,
    config_of,
    each,
    inputs,
    method_of,
    site,
    train_adapter,
)

pytestmark = pytest.mark.parametrize("method", each(ADAPTERS))

KINDS = ("linear", "linear without bias", "square linear", "conv1d", "square conv1d")
DTYPES = {"float32": (torch.float32, 1e-6), "bfloat16": (torch.bfloat16, 1e-2)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_fresh_adapter_changes_nothing(method, kind, dtype):
    """Law 1: identity, to the last bit unless the method declares another tolerance."""
    model = One(kind, DTYPES[dtype][0])
    x = inputs(model, DTYPES[dtype][0])
    before = model(x)

    adaptation = attach(model, method_of(method), config_of(method), targets=["layer"])
    adaptation.begin_task(0)

    tolerance = METHODS[method_of(method)].identity
    if tolerance:
        assert (model.eval()(x) - before).norm() <= tolerance * before.norm()
        return
    assert torch.equal(model(x), before)
    assert not adaptation.adapters["layer"].delta_weight().any()
    changed = adaptation.adapters["layer"].delta_bias()
    assert changed is None or not changed.any()


CASES = [  # every kind and dtype, and every rank and number of tasks, but not all of their pairs
    *((kind, dtype, 4, 3) for kind in KINDS for dtype in DTYPES),
    *(("linear", "float32", tasks, rank) for tasks, rank in ((1, 3), (2, 1), (2, 5))),
]


@pytest.mark.parametrize(("kind", "dtype", "tasks", "rank"), CASES)
def test_the_factored_forward_equals_the_dense_one(method, kind, dtype, tasks, rank):
    """Law 2: y = x (W + ΔW)ᵗ + b + Δb, from rank 1 to full."""
    torch_dtype, tolerance = DTYPES[dtype]
    model = One(kind, torch_dtype)
    x = inputs(model, torch_dtype)
    base = deepcopy(model.layer)
    adaptation = adapted(method, model, tasks, rank)

    delta = adaptation.adapters["layer"].delta_weight().detach().double()
    weight = base.weight.detach().double()
    weight = weight.T if kind.endswith("conv1d") else weight
    bias = dict(base.named_parameters()).get("bias", torch.zeros(()))
    changed = adaptation.adapters["layer"].delta_bias()
    bias = bias.double() if changed is None else bias.double() + changed.detach()
    dense = x.double() @ (weight + delta).T + bias

    noisy = METHODS[method_of(method)].noisy
    learning = model.eval()(x) if noisy else model(x)
    with torch.no_grad():
        served = model.eval()(x)

    assert delta.norm() > 1e-3
    atol = tolerance * dense.abs().max().item()
    for factored in (learning, served):
        assert factored.dtype == torch_dtype
        assert_close(factored.detach().double(), dense.detach(), rtol=tolerance, atol=atol)


def test_it_computes_under_autocast(method):
    """Law 2 continued: products in bfloat16, in training and where factors serve."""
    model = One("linear")
    x = inputs(model)
    adapted(method, model, 1)
    with torch.no_grad():
        plain = model.eval()(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        learning = model.train()(x)
        with torch.no_grad():
            served = model.eval()(x)

    assert learning.isfinite().all()
    assert (served.float() - plain).norm() <= 0.03 * plain.norm()


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_declared_numbers_learn(method, kind):
    """Law 3: gradients reach exactly the trainable numbers, as many as the closed formula says."""
    model = One(kind)
    adaptation = adapted(method, model, 3)
    x = inputs(model)
    n, m = x.shape[-1], model(x).shape[-1]

    for parameter in model.parameters():
        parameter.grad = None
    (model(x).square().sum() + adaptation.penalty()).backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    learning = {name for name, p in model.named_parameters() if p.requires_grad}

    assert with_gradient == learning
    assert all(name.startswith("layer.adapter.") for name in learning)
    kind_of_adapter, config = METHODS[method_of(method)].adapter, config_of(method)
    expected = kind_of_adapter.trained_numbers(m, n, config, 2)
    if adaptation.layers["layer"].bias is not None:
        expected += kind_of_adapter.bias_numbers(m, n, config, 2)
    shared = kind_of_adapter.shared_numbers(config, 2, {"layer": (m, n)})
    assert adaptation.trained_numbers() == expected + shared


def test_everything_an_adapter_holds_is_float32(method):
    """Law 3 continued: whatever the backbone's dtype; indices aside."""
    adapter = adapter_of(method, site(dtype=torch.bfloat16))

    held = [t.dtype for t in [*adapter.parameters(), *adapter.buffers()] if t.is_floating_point()]

    assert set(held) == {torch.float32}


def test_beginning_a_task_forgets_nothing(method):
    """Law 4: what was learned on tasks 0 to 3 is still there when the next one begins."""
    if ADAPTERS[method][1] == RESTARTS:
        pytest.skip("restarting magnitudes is the published code's deviation")
    adapter = adapter_of(method, site())

    for task in range(4):
        adapter.begin_task(task)
        train_adapter(adapter, 5, seed=task)
        before = adapter.delta_weight().detach().clone()
        following = deepcopy(adapter)
        following.begin_task(task + 1)
        following.serve(task)  # methods that must be told the task keep it under its number

        assert_close(following.delta_weight(), before, rtol=1e-6, atol=1e-6)


def test_a_task_of_which_nothing_was_learned_harms_nothing(method):
    """Law 4 continued: boundaries without any training step between them."""
    adapter = adapter_of(method, site())
    for task in range(3):
        adapter.begin_task(task)
    train_adapter(adapter, 5)
    adapter.begin_task(3)
    adapter.serve(2)

    assert adapter.delta_weight().isfinite().all()
    assert adapter.delta_weight().norm() > 0.01


@pytest.mark.parametrize(("tasks", "other_tasks"), [(0, 0), (0, 2), (1, 1), (4, 0), (4, 1)])
def test_state_is_complete(method, tasks, other_tasks):
    """Law 5: loaded into an adapter of another history, it is the same function bit for bit."""
    source = adapted(method, One("linear"), tasks)
    target = adapted(method, One("linear"), other_tasks)
    x = inputs(source.model)

    target.load_state(source.state())

    assert torch.equal(source.model(x), target.model(x))
    assert target.task == source.task
    assert target.state_hash() == source.state_hash()
    assert {n: p.shape for n, p in target.trainable().items()} == {
        n: p.shape for n, p in source.trainable().items()
    }


def test_training_goes_on_identically_after_loading(method):
    """Law 5 continued: the next task begins with the same numbers."""
    source, target = adapted(method, One("linear"), 2), adapted(method, One("linear"), 0)
    target.load_state(source.state())

    for adaptation in (source, target):
        adaptation.begin_task(2)

    for name, tensor in source.state().items():
        assert torch.equal(tensor, target.state()[name]), name


def test_disabled_means_base(method):
    """Law 6: the base's own output returns exactly, and nothing is unfrozen afterwards."""
    model = One("linear")
    x = inputs(model)
    base = model(x).detach().clone()
    adaptation = adapted(method, model, 2)
    after, flags = model(x).detach().clone(), [p.requires_grad for p in model.parameters()]

    with adaptation.disabled():
        assert torch.equal(model(x), base)
        with adaptation.disabled():
            assert torch.equal(model(x), base)
        assert torch.equal(model(x), base)

    assert torch.equal(model(x), after)
    assert [p.requires_grad for p in model.parameters()] == flags


def test_cost_does_not_grow_with_the_number_of_tasks(method):
    """Law 7: the same matrix products after one task and after six, as few as is declared."""
    adapter = adapter_of(method, site())
    x, y = torch.randn(4, 5), torch.randn(4, 7)
    adapter.begin_task(0)
    adapter.begin_task(1)
    few = products(lambda: adapter(x, y))

    for task in range(2, 7):
        adapter.begin_task(task)

    assert products(lambda: adapter(x, y)) == few
    assert few <= METHODS[method_of(method)].products
    assert len(list(adapter.modules())) <= 5


def test_factors_multiply_to_the_change(method):
    """Law 8: B A = ΔW without any decomposition, after several tasks."""
    adapter = adapter_of(method, site())
    for task in range(3):
        adapter.begin_task(task)
        train_adapter(adapter, 5, seed=task)

    factors = adapter.factors()
    assert METHODS[method_of(method)].lora_export == (factors is not None)
    if factors is None:
        return  # its changes have no low rank: it is exported as whole weights
    B, A = factors

    assert not B.requires_grad
    assert not A.requires_grad
    assert_close(B @ A, adapter.delta_weight().detach(), rtol=1e-6, atol=1e-6)


def test_what_is_evaluated_is_what_the_factors_compute(method):
    """Without gradient and in eval mode, y + (x Aᵗ) Bᵗ to the last bit."""
    model = One("linear")
    x = inputs(model)
    base = deepcopy(model.layer)
    factors = adapted(method, model, 3).adapters["layer"].factors()
    if factors is None:
        pytest.skip("no low-rank form")
    B, A = factors
    with torch.no_grad():
        expected = base(x) + (x @ A.T) @ B.T

        assert torch.equal(model.eval()(x), expected)


def test_initial_numbers_depend_on_seed_and_site_only(method):
    """Global random state and the order of visits play no part; the site does."""
    torch.manual_seed(1)
    first = adapter_of(method, site(9, 8))
    torch.manual_seed(2)
    adapter_of(method, site(9, 8, seed=8))
    again = adapter_of(method, site(9, 8))
    before = torch.get_rng_state()
    again.begin_task(0)
    again.begin_task(1)
    again.begin_task(2)

    assert torch.equal(torch.get_rng_state(), before)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, adapter_of(method, site(9, 8)).state_dict()[name])


class _Products(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        self.count += name in {"mm", "addmm", "bmm", "baddbmm", "matmul", "linear"}
        return function(*args, **(kwargs or {}))


def products(call) -> int:
    """How many matrix products a call performs."""
    with torch.no_grad(), _Products() as counter:
        call()
    return counter.count
