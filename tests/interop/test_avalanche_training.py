"""Our methods inside Avalanche's strategies, and what they measure, beside our own loop."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import TensorDataset

import continual
from continual._torchvision import ensure_torchvision
from continual.adapters.settings import configure
from continual.errors import InputError
from continual.interop.avalanche import (
    AdapterPlugin,
    Classifier,
    SeededSteps,
    TaskClassifier,
    from_benchmark,
    read_results,
    to_benchmark,
)
from continual.interop.tuners.attach import attach_tuner
from continual.interop.tuners.settings import tuner_config
from continual.metrics import scores
from continual.scenario import Limit
from continual.training.checkpoint import load_checkpoint

ensure_torchvision()
from avalanche.benchmarks import (  # noqa: E402
    class_incremental_benchmark,
    new_instances_benchmark,
    split_online_stream,
    task_incremental_benchmark,
    with_classes_timeline,
)
from avalanche.benchmarks.utils import as_classification_dataset  # noqa: E402
from avalanche.core import SupervisedPlugin  # noqa: E402
from avalanche.evaluation.metrics import (  # noqa: E402
    accuracy_metrics,
    bwt_metrics,
    forgetting_metrics,
    forward_transfer_metrics,
)
from avalanche.models import IncrementalClassifier  # noqa: E402
from avalanche.training.plugins import EvaluationPlugin, ReplayPlugin  # noqa: E402
from avalanche.training.supervised import EWC, Cumulative, LwF, Naive, Replay  # noqa: E402

warnings.filterwarnings("ignore", message="No loggers specified")

BATCH = 32
RATE = 3e-3
EPOCHS = 2
PLAIN = {
    "train": {
        "epochs": EPOCHS,
        "batch_size": BATCH,
        "lr": RATE,
        "schedule": "constant",
        "warmup": 0,
        "clip": None,
        "class_loss": "seen",
    },
    "evaluation": {"batch_size": BATCH},
}


def digits(part, each):
    """So many pictures of each of scikit-learn's digits, as a data set of Avalanche's."""
    found = load_digits()
    begin = 0 if part == "train" else 128
    chosen = [np.flatnonzero(found.target == k)[begin : begin + each] for k in range(10)]
    rows = np.sort(np.concatenate(chosen))
    x = torch.from_numpy((found.images / 16).astype(np.float32))[rows][:, None]
    y = torch.from_numpy(found.target)[rows]
    data = TensorDataset(x, y)
    data.targets = y.tolist()
    return as_classification_dataset(data)


def split_digits(tasks=5, each=64):
    """The digits, some new ones at a time, as Avalanche splits MNIST."""
    return class_incremental_benchmark(
        {"train": digits("train", each), "test": digits("test", 40)},
        num_experiences=tasks,
        class_order=list(range(10)),
    )


def small():
    """A few pictures of each digit, five digits at a time."""
    return split_digits(2, 32)


def evaluator(*more):
    return EvaluationPlugin(accuracy_metrics(experience=True), *more, loggers=[])


def strategy(kind, model, plugins, *, rate=RATE, epochs=EPOCHS, **options):
    """An Avalanche strategy with AdamW and no weight decay."""
    return kind(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=BATCH,
        train_epochs=epochs,
        eval_mb_size=BATCH,
        plugins=plugins,
        **{"evaluator": evaluator(), **options},
    )


def adapted(method, seed=0, told=False, **settings):
    """Our backbone with a method attached, as a model for Avalanche."""
    backbone = continual.load_backbone("tiny-vit")
    if method.startswith("peft:"):
        adaptation = attach_tuner(backbone, method, tuner_config(method, settings), seed=seed)
    else:
        adaptation = continual.attach(
            backbone.model,
            method,
            configure(method, settings),
            model_type=backbone.model_type,
            seed=seed,
            heads=backbone.heads,
        )
    if told:
        return adaptation, TaskClassifier(backbone, name="digits", seed=seed)
    return adaptation, Classifier(backbone, seed=seed)


def trained(benchmark, own):
    """What was evaluated after every experience."""
    evaluations = []
    for experience in benchmark.train_stream:
        own.train(experience)
        evaluations.append(own.eval(benchmark.test_stream))
    return evaluations


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "seed"),
    [("lora", 0), ("nlora", 1), ("droplora", 2), ("periodic-lora", 3), ("eva", 4)],
)
def test_avalanches_loop_and_ours_give_equal_r(method, seed, tmp_path):
    """Equal seeds and order: every accuracy is equal, and what was learned is, bit for bit.

    Batches are full and of a power of two, so that the gradient of their mean, which Avalanche
    takes, is exactly that of their sum divided, which our loop takes.
    """
    benchmark = split_digits()
    record = continual.run(
        from_benchmark(benchmark, name="digits"),
        method,
        out=tmp_path / "run",
        backbone="tiny-vit",
        seed=seed,
        settings=PLAIN,
    )

    adaptation, model = adapted(method, seed)
    own = strategy(Naive, model, [SeededSteps(seed), AdapterPlugin(adaptation)])
    theirs = read_results(trained(benchmark, own))

    ours = record.matrix()
    learned = np.tril(np.ones_like(ours, dtype=bool))
    assert np.array_equal(np.isnan(ours), ~learned)
    assert np.array_equal(theirs.R[learned], ours[learned])
    assert (theirs.R[~learned] == 0.0).all()
    assert ours[learned].std() > 0.1
    checkpoint, _ = load_checkpoint(tmp_path / "run" / "checkpoints")
    for name, numbers in adaptation.state().items():
        assert torch.equal(numbers, checkpoint.tensors[f"state|{name}"]), name


@pytest.mark.slow
def test_our_scenario_gives_equal_r_both_ways(tmp_path):
    """split-digits through continual.run, and as a benchmark through Avalanche's Naive."""
    whole = continual.load_scenario("split-digits")
    full = Limit(train=6 * BATCH, test=40)
    scenario = replace(whole, tasks=tuple(replace(task, limit=full) for task in whole.tasks))
    record = continual.run(scenario, "curlora", out=tmp_path / "run", seed=5, settings=PLAIN)

    adaptation, model = adapted("curlora", 5)
    own = strategy(Naive, model, [SeededSteps(5), AdapterPlugin(adaptation)])
    theirs = read_results(trained(to_benchmark(scenario), own))

    learned = np.tril(np.ones((5, 5), dtype=bool))
    assert np.array_equal(theirs.R[learned], record.matrix()[learned])


@pytest.mark.slow
def test_every_task_is_served_as_itself(tmp_path):
    """With task labels a LoRA per task forgets nothing, here as in our loop."""
    benchmark = task_incremental_benchmark(split_digits())
    record = continual.run(
        from_benchmark(benchmark, name="digits"),
        "per-task",
        out=tmp_path / "run",
        backbone="tiny-vit",
        settings=PLAIN,
    )

    adaptation, model = adapted("per-task", told=True)
    own = strategy(Naive, model, [SeededSteps(0), AdapterPlugin(adaptation)])
    theirs = read_results(trained(benchmark, own)).R

    for j in range(5):
        assert len(set(theirs[j:, j])) == 1
    learned = np.tril(np.ones((5, 5), dtype=bool))
    assert np.array_equal(theirs[learned], record.matrix()[learned])


@pytest.mark.slow
def test_a_method_that_must_be_told_the_task_is():
    """Without task labels, or with examples of other tasks, there is nothing to serve."""
    adaptation, model = adapted("per-task")
    own = strategy(Naive, model, [AdapterPlugin(adaptation)])
    with pytest.raises(InputError, match=r"must be told the task; .* task labels \[\]"):
        own.train(small().train_stream[0])

    adaptation, model = adapted("per-task", told=True)
    own = strategy(Naive, model, [ReplayPlugin(20), AdapterPlugin(adaptation)], epochs=1)
    benchmark = task_incremental_benchmark(small())
    own.train(benchmark.train_stream[0])
    with pytest.raises(InputError, match=r"task label 1 has examples of \[0\]"):
        own.train(benchmark.train_stream[1])


class Watch(SupervisedPlugin):
    """Keeps the ids of what the optimiser holds, and of what should learn, at every step."""

    def __init__(self, adaptation):
        super().__init__()
        self.adaptation, self.steps, self.wrong = adaptation, 0, 0

    def before_update(self, strategy, **kwargs):
        held = [id(p) for group in strategy.optimizer.param_groups for p in group["params"]]
        self.steps += 1
        self.wrong += sorted(held) != sorted(map(id, self.adaptation.trainable().values()))


class Network(nn.Module):
    """Anyone's network: two linear layers under Avalanche's growing classifier."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 32))
        self.classifier = IncrementalClassifier(32, initial_out_features=2)

    def forward(self, x):
        return self.classifier(self.body(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [(Naive, {}), (Naive, {"eval_every": 1}), (Cumulative, {}), (Replay, {"mem_size": 40})],
)
@pytest.mark.parametrize("method", ["lora", "nlora"])
def test_on_anyones_network_exactly_what_learns_is_optimised(method, kind, options):
    """Also beside cumulative training and replay, and where an evaluation lets the heads grow."""
    torch.manual_seed(0)
    network = Network()
    adaptation = continual.attach(
        network,
        method,
        configure(method, {"rank": 4}),
        targets="all-linear",
        heads=network.classifier,
    )
    frozen = {n: p.detach().clone() for n, p in network.body.named_parameters() if "base" in n}
    watch = Watch(adaptation)
    own = strategy(
        kind, network, [AdapterPlugin(adaptation), watch], rate=0.02, epochs=12, **options
    )

    benchmark = with_classes_timeline(small())
    for experience in benchmark.train_stream:
        own.train(experience, eval_streams=[benchmark.test_stream])

    assert watch.steps > 10
    assert watch.wrong == 0
    assert adaptation.task == 1
    now = dict(network.body.named_parameters())
    assert frozen
    assert all(torch.equal(now[name], numbers) for name, numbers in frozen.items())
    assert read_results([own.eval(benchmark.test_stream)] * 2).R[1, 1] > 0.5


@pytest.mark.slow
def test_what_begins_anew_has_no_moments():
    """PeriodicLoRA restarts its pair within a task; its moments start with it."""
    adaptation, model = adapted("periodic-lora", every=3)
    ages = []

    class Ages(SupervisedPlugin):
        def after_training_iteration(self, strategy, **kwargs):
            pair = [p for n, p in adaptation.trainable().items() if n.startswith("adapters")]
            ages.append(max(float(strategy.optimizer.state[p].get("step", 0)) for p in pair))

    own = strategy(Naive, model, [AdapterPlugin(adaptation), Ages()], epochs=4)
    own.train(small().train_stream[0])

    assert ages[:7] == [1, 2, 0, 1, 2, 0, 1]


@pytest.mark.slow
def test_the_penalty_is_in_the_loss():
    """With a heavy penalty the new pair stays small."""
    size = {}
    for lam in (0.0, 100.0):
        adaptation, model = adapted("nlora", lam=lam)
        own = strategy(Naive, model, [SeededSteps(), AdapterPlugin(adaptation)], epochs=4)
        own.train(small().train_stream[0])
        pair = [p for n, p in adaptation.trainable().items() if n.startswith("adapters")]
        size[lam] = sum(float(p.detach().abs().sum()) for p in pair)

    assert size[100.0] < 0.75 * size[0.0]


@pytest.mark.slow
def test_an_online_stream_begins_a_task_at_its_boundaries():
    """The parts of an experience are one task; a stream that hides them is refused."""
    benchmark = small()
    for shown in (True, False):
        stream = split_online_stream(
            benchmark.train_stream, experience_size=BATCH, seed=0, access_task_boundaries=shown
        )
        adaptation, model = adapted("lora")
        own = strategy(Naive, model, [AdapterPlugin(adaptation)], epochs=1)
        if shown:
            own.train(stream)
            assert adaptation.task == 1
        else:
            with pytest.raises(InputError, match="access_task_boundaries=True"):
                own.train(stream)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("replay", {}, "ReplayPlugin"),
        ("ewc", {}, "EWCPlugin"),
        ("lwf", {}, "LwFPlugin"),
        ("joint", {}, "JointTraining"),
        ("lora-rite", {}, "the strategy's own optimiser"),
        ("glora", {"supernet": True}, "searches among choices"),
        ("frozen", {}, "trains nothing"),
        ("peft:ia3", {}, "get_peft_model"),
    ],
)
def test_what_needs_our_loop_is_refused(method, settings, message):
    """With what Avalanche has for it."""
    adaptation, _ = adapted(method, **settings)

    with pytest.raises(InputError, match=message):
        AdapterPlugin(adaptation)


@pytest.mark.slow
def test_strategies_that_do_not_fit_are_refused():
    """Before anything is trained."""
    adaptation, model = adapted("lora")
    _, other = adapted("lora")
    first = small().train_stream[0]

    with pytest.raises(InputError, match="the strategy's model lacks"):
        strategy(Naive, other, [AdapterPlugin(adaptation)]).train(first)
    groups = [{"params": [p]} for p in model.parameters()]
    own = strategy(Naive, model, [AdapterPlugin(adaptation)])
    own.optimizer = torch.optim.AdamW(groups, lr=RATE)
    with pytest.raises(InputError, match="groups of parameters"):
        own.train(first)
    own = strategy(Naive, model, [ReplayPlugin(20), SeededSteps(), AdapterPlugin(adaptation)])
    own.train(first)
    with pytest.raises(InputError, match="ReplayDataLoader, which mixes"):
        own.train(small().train_stream[1])
    with pytest.raises(InputError, match="reads no pictures"):
        Classifier(continual.load_backbone("tiny-lm"))
    _, alone = adapted("lora", told=True)
    with pytest.raises(InputError, match="task_incremental_benchmark"):
        strategy(Naive, alone, []).train(first)


@pytest.mark.slow
def test_our_scores_are_avalanches_where_the_definitions_agree():
    """Forgetting, backward and forward transfer of a real run, from R and from its own plugin."""
    torch.manual_seed(0)
    benchmark = split_digits()
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    own = strategy(
        Naive,
        network,
        [],
        evaluator=evaluator(
            accuracy_metrics(stream=True),
            forgetting_metrics(stream=True),
            bwt_metrics(stream=True),
            forward_transfer_metrics(stream=True),
        ),
        rate=0.02,
        epochs=1,
        eval_every=0,
    )
    before = own.eval(benchmark.test_stream)
    evaluations = []
    for experience in benchmark.train_stream:
        own.train(experience, eval_streams=[benchmark.test_stream])
        evaluations.append(own.eval(benchmark.test_stream))
    found = read_results(evaluations, before=before)
    ours = scores(found.R, found.b)

    theirs = {key.split("/")[0]: value for key, value in evaluations[-1].items() if "Stream" in key}
    assert ours["forgetting.first_last"] == pytest.approx(theirs["StreamForgetting"], abs=1e-12)
    assert ours["bwt.gem2017"] == pytest.approx(theirs["StreamBWT"], abs=1e-12)
    assert ours["fwt.gem2017"] == pytest.approx(theirs["StreamForwardTransfer"], abs=1e-12)
    assert ours["forgetting.first_last"] != 0.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (EWC, {"ewc_lambda": 1.0}),
        (LwF, {"alpha": 1.0, "temperature": 2.0}),
        (Replay, {"mem_size": 50}),
        (Cumulative, {}),
    ],
)
@pytest.mark.parametrize("ours", [False, True], ids=["whole network", "lora"])
def test_avalanches_strategies_train_on_our_scenario(kind, options, ours):
    """With all numbers of a network, and with an adapter of ours as what learns."""
    torch.manual_seed(0)
    scenario = from_benchmark(split_digits(2), name="digits")
    benchmark = to_benchmark(scenario)
    adaptation, model = adapted("lora") if ours else (None, Network())
    plugins = [] if adaptation is None else [AdapterPlugin(adaptation)]
    own = strategy(kind, model, plugins, rate=0.01, **options)

    found = read_results(trained(with_classes_timeline(benchmark), own)).R

    assert found[0, 0] > 0.6
    assert found[1, 1] > 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options"),
    [(LwF, {"alpha": 1.0, "temperature": 2.0}), (Replay, {"mem_size": 20}), (Cumulative, {})],
)
def test_heads_of_their_own_go_with_avalanches_strategies(kind, options):
    """Also where a batch has examples of several tasks, or every head is asked."""
    benchmark = to_benchmark(from_benchmark(task_incremental_benchmark(small()), name="digits"))
    adaptation, model = adapted("lora", told=True)
    own = strategy(kind, model, [AdapterPlugin(adaptation)], **options)

    found = read_results(trained(benchmark, own)).R

    assert found[0, 0] > 0.4
    assert found[1, 1] > 0.4
    assert sorted(adaptation.trainable())[-2].startswith("heads.head_digits-2")


@pytest.mark.slow
def test_new_instances_train_in_both_loops(tmp_path):
    """One test experience for all tasks: Avalanche evaluates it once, our loop once per task."""
    benchmark = new_instances_benchmark(
        digits("train", 48),
        digits("test", 20),
        num_experiences=3,
        seed=0,
        balance_experiences=True,
    )
    record = continual.run(
        from_benchmark(benchmark, name="digits"),
        "lora",
        out=tmp_path / "run",
        backbone="tiny-vit",
        settings=PLAIN,
    )
    adaptation, model = adapted("lora")
    own = strategy(Naive, model, [SeededSteps(), AdapterPlugin(adaptation)])
    whole = [next(iter(row.values())) for row in trained(benchmark, own)]

    assert np.array_equal(record.matrix(), np.repeat(np.array(whole)[:, None], 3, axis=1))
