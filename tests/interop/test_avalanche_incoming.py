"""Avalanche's benchmarks as our scenarios, made by Avalanche itself."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from continual._torchvision import ensure_torchvision
from continual.errors import InputError
from continual.interop.avalanche import from_benchmark, read_results, to_benchmark
from continual.scenario import Scenario

ensure_torchvision()
from avalanche.benchmarks import (  # noqa: E402
    benchmark_from_datasets,
    benchmark_with_validation_stream,
    class_incremental_benchmark,
    new_instances_benchmark,
    split_online_stream,
    task_incremental_benchmark,
)
from avalanche.benchmarks.scenarios import (  # noqa: E402
    CLExperience,
    CLScenario,
    CLStream,
    DatasetExperience,
)
from avalanche.benchmarks.utils import (  # noqa: E402
    AvalancheDataset,
    DataAttribute,
    as_classification_dataset,
)
from avalanche.benchmarks.utils.transform_groups import TransformGroups  # noqa: E402

GREY = torch.arange(12 * 16).reshape(12, 1, 4, 4) / 255.0
CLASSES = [0, 1, 2, 3] * 3


def pictures(x=GREY, y=CLASSES, **groups):
    """A data set of Avalanche's, with a transform for each group if asked."""
    data = TensorDataset(x, torch.tensor(y))
    data.targets = list(y)
    groups = {name: (transform, None) for name, transform in groups.items()}
    return as_classification_dataset(data, TransformGroups(groups) if groups else None)


def split(**options):
    """Four classes in two experiences, 3 and 1 before 0 and 2."""
    return class_incremental_benchmark(
        {"train": pictures(), "test": pictures()},
        num_experiences=2,
        class_order=[3, 1, 0, 2],
        **options,
    )


def images(split):
    return np.stack([example.image for example in split])


def test_classes_that_arrive_make_a_class_incremental_scenario():
    """Items, their order and their classes are those that Avalanche's strategies see."""
    benchmark = split()
    scenario = from_benchmark(benchmark, name="digits", class_names=["zero", "one", "two", "three"])

    assert scenario.setting == "class-incremental"
    assert [task.class_names for task in scenario.tasks] == [("one", "three"), ("zero", "two")]
    for stream, part in ((benchmark.train_stream, "train"), (benchmark.test_stream, "test")):
        for experience, task in zip(stream, scenario.tasks, strict=True):
            ours = vars(task.load())[part]
            theirs = [experience.dataset[k] for k in range(len(experience.dataset))]
            assert np.array_equal(images(ours), np.stack([x[0].numpy() for x, *_ in theirs]))
            assert ours.column("label") == [y for _, y, *_ in theirs]
            assert len(task.load().validation) == 0


def test_a_scenario_comes_back_as_it_went():
    """Pictures, their order and their names survive both ways."""
    scenario = from_benchmark(split(), name="digits")
    back = from_benchmark(to_benchmark(scenario), name="digits", class_names=["1", "3", "0", "2"])

    assert [task.class_names for task in back.tasks] == [("1", "3"), ("0", "2")]
    for task, again in zip(scenario.tasks, back.tasks, strict=True):
        assert np.array_equal(images(task.load().train), images(again.load().train))
        names = [again.labels[k] for k in again.load().train.column("label")]
        assert names == [task.labels[k] for k in task.load().train.column("label")]


def test_task_labels_make_a_task_incremental_scenario():
    """A different label for every experience means that the task is told."""
    scenario = from_benchmark(task_incremental_benchmark(split()), name="digits")

    assert scenario.setting == "task-incremental"
    assert scenario.candidates(1, 0).labels == ("1", "3")


def test_new_instances_are_tested_on_the_one_test_experience():
    """Every task has its own training data and the whole test set."""
    benchmark = new_instances_benchmark(
        pictures(), pictures(), num_experiences=3, seed=0, balance_experiences=True
    )
    scenario = from_benchmark(benchmark, name="again")

    assert scenario.setting == "domain-incremental"
    assert [len(task.load().train) for task in scenario.tasks] == [4, 4, 4]
    assert [len(task.load().test) for task in scenario.tasks] == [12, 12, 12]
    assert scenario.candidates(-1, 2).labels == ("0", "1", "2", "3")


def test_domains_have_tests_of_their_own():
    """The same classes in every experience: a domain-incremental scenario, each on its own test."""
    train = [pictures(), pictures(GREY.flip(0), CLASSES[::-1])]
    test = [pictures(GREY[:8], CLASSES[:8]), pictures(GREY[4:], CLASSES[4:])]
    scenario = from_benchmark(benchmark_from_datasets(train=train, test=test), name="domains")

    assert scenario.setting == "domain-incremental"
    assert scenario.candidates(-1, 1).labels == ("0", "1", "2", "3")
    for task, own in zip(scenario.tasks, test, strict=True):
        pixels = [own[k][0][0].numpy() for k in range(len(own))]
        assert np.array_equal(images(task.load().test), np.stack(pixels))


def test_one_test_experience_is_divided_by_the_classes_of_the_tasks():
    """A class-incremental benchmark with a complete test set asks each task for its own classes."""
    streams = split().streams
    whole = CLStream("test", [DatasetExperience(dataset=pictures())])
    scenario = from_benchmark(CLScenario([streams["train"], whole]), name="whole")

    assert [set(task.load().test.column("label")) for task in scenario.tasks] == [{1, 3}, {0, 2}]
    with pytest.raises(InputError, match="1 experiences for 2 train experiences"):
        from_benchmark(CLScenario([streams["train"], whole]), name="w", setting="task-incremental")


def test_a_validation_stream_becomes_the_validation_splits():
    """And nothing is carved out of the training data."""
    benchmark = benchmark_with_validation_stream(split(), validation_size=0.5, shuffle=True, seed=1)
    scenario = from_benchmark(benchmark, name="digits")

    assert [len(task.load().train) for task in scenario.tasks] == [3, 3]
    assert [len(task.load().validation) for task in scenario.tasks] == [3, 3]


def test_test_data_is_read_by_its_eval_transforms():
    """Training data by its train transforms, unless asked otherwise."""
    data = pictures(train=lambda x: x / 2, eval=lambda x: 1 - x)
    benchmark = benchmark_from_datasets(train=[data], test=[data])

    plain = from_benchmark(benchmark, name="a").tasks[0].load()
    evaluated = from_benchmark(benchmark, name="a", train_transforms="eval").tasks[0].load()

    assert np.array_equal(images(plain.train), GREY[:, 0].numpy() / 2)
    assert np.array_equal(images(plain.test), 1 - GREY[:, 0].numpy())
    assert np.array_equal(images(evaluated.train), images(plain.test))


def test_colours_and_whole_numbers_are_read():
    """Channels first, as tensors are; whole numbers are of 255."""
    x = torch.randint(0, 256, (4, 3, 2, 5), dtype=torch.uint8)
    data = pictures(x, [0, 1, 0, 1])
    scenario = from_benchmark(benchmark_from_datasets(train=[data], test=[data]), name="rgb")

    expected = x.movedim(1, -1).numpy().astype(np.float32) / 255
    assert np.array_equal(images(scenario.tasks[0].load().test), expected)


def test_text_comes_back_as_text():
    """Dicts with text and a class are classification; the prompt stays as it was."""
    rows = [{"text": "1 + 1", "label": "sum"}, {"text": "2 - 1", "label": "difference"}]
    scenario = Scenario.from_lists(
        "arithmetic", [("signs", rows, rows), ("again", rows, rows)], validation_fraction=0.0
    )
    names = ["difference", "sum"]
    back = from_benchmark(to_benchmark(scenario), name="arithmetic", class_names=names)
    task = back.tasks[1]

    assert back.setting == "task-incremental"
    assert [task.render(example) for example in task.load().test] == [
        "1 + 1\nAnswer:",
        "2 - 1\nAnswer:",
    ]
    assert [task.labels[k] for k in task.load().test.column("label")] == ["sum", "difference"]


def test_text_without_classes_is_generated_or_read():
    """A target makes it generation, none language modelling."""
    for row, kind in (
        ({"text": "two", "target": "2"}, "text-generation"),
        ({"text": "two"}, "language-modeling"),
    ):
        data = AvalancheDataset([[row]])
        scenario = from_benchmark(benchmark_from_datasets(train=[data], test=[data]), name="t")
        assert scenario.tasks[0].kind == kind
        assert scenario.tasks[0].render(scenario.tasks[0].load().test[0]) == "two"


def test_a_stream_without_a_length_is_followed_to_its_end():
    """A generator of experiences is read once."""
    tests = split().streams["test"]
    train = CLStream("train", (one for one in list(split().streams["train"])))

    assert len(from_benchmark(CLScenario([train, tests]), name="digits")) == 2


def boxes():
    return AvalancheDataset([[(GREY[0], {"boxes": [], "labels": []})]])


def floats():
    return AvalancheDataset([[(GREY[0], 0.5)]])


def vectors():
    return AvalancheDataset([[(torch.rand(8), 1)]])


def normalised():
    return pictures(eval=lambda x: (x - 0.5) / 0.5, train=lambda x: (x - 0.5) / 0.5)


def tokens():
    return AvalancheDataset(
        [[{"input_ids": [1, 2]}]], data_attributes=[DataAttribute([0], "targets")]
    )


def augmented():
    return pictures(train=lambda x: x * torch.rand(()), eval=lambda x: x)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (boxes, "target of type dict; a scenario has one class per item"),
        (floats, "target of type float"),
        (vectors, r"must have shape .* got \(8,\)"),
        (normalised, "Leave normalisation out of the transforms"),
        (tokens, r"dicts with \['input_ids'\]; .* their own tokenizer"),
        (augmented, "train_transforms='eval'"),
        (lambda: pictures().subset([]), "experience 0 of the train stream has no items"),
    ],
)
def test_items_that_are_nothing_to_us_are_refused(data, message):
    """The message says where, and what is allowed."""
    made = data()

    with pytest.raises(InputError, match=message):
        from_benchmark(benchmark_from_datasets(train=[made], test=[made]), name="odd")


def three(*classes):
    """A benchmark with these classes in its experiences."""
    parts = [pictures().subset([k for k, y in enumerate(CLASSES) if y in own]) for own in classes]
    return benchmark_from_datasets(train=parts, test=parts)


@pytest.mark.parametrize(
    ("benchmark", "options", "message"),
    [
        (lambda: "SplitMNIST", {}, r"takes an Avalanche benchmark \(a CLScenario\); got str"),
        (lambda: benchmark_from_datasets(train=[pictures()]), {}, "unknown stream 'test'"),
        (
            lambda: benchmark_from_datasets(train=[pictures()] * 3, test=[pictures()] * 2),
            {},
            "2 experiences for 3 train experiences; allowed .*: 3, or one for all",
        ),
        (lambda: three([0, 1], [1, 2]), {}, "setting cannot be told"),
        (split, {"class_names": ["a", "b"]}, r"2 names and none for the ids \[2, 3\]"),
        (
            lambda: CLScenario([CLStream(n, [CLExperience(0, None)]) for n in ("train", "test")]),
            {},
            "has no data set",
        ),
    ],
)
def test_benchmarks_that_do_not_fit_are_refused(benchmark, options, message):
    """The message says what was given and what to do."""
    with pytest.raises(InputError, match=message):
        from_benchmark(benchmark(), name="odd", **options)


def test_an_online_stream_is_refused_with_what_is_the_same():
    """Its experiences are steps: one epoch of batches of that size."""
    benchmark = split()
    online = split_online_stream(benchmark.train_stream, experience_size=2, seed=0)

    with pytest.raises(InputError, match=r"train.epochs=1 and train.batch_size=2"):
        from_benchmark(CLScenario([online, benchmark.test_stream]), name="online")


def test_results_without_what_r_needs_are_refused():
    """The keys are Avalanche's; the message says which metric to ask for."""
    key = "Top1_Acc_Exp/eval_phase/test_stream/Task000/Exp{:03d}".format
    good = {key(0): 1.0, key(1): 0.5, "Loss_Exp/eval_phase/test_stream/Task000/Exp000": 9.0}
    bare = {name.replace("/Task000", ""): value for name, value in good.items()}

    assert np.array_equal(read_results([good, bare]).R, [[1.0, 0.5], [1.0, 0.5]])
    for given, message in (
        ([{}], "accuracy_metrics"),
        ([good], "one test experience per train experience"),
        ([{key(0): 70.0}], r"scores in \[0, 1\]; got 70"),
        ([{key(0): 1.0, key(0).replace("Task000", "Task001"): 1.0}], "several task labels"),
    ):
        with pytest.raises(InputError, match=message):
            read_results(given)
