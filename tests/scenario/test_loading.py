"""From rows to splits: limits, validation, duplicates, labels, images."""

import logging
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continual.errors import InputError
from continual.scenario import Limit, Probe, RowsSource, Scenario, Task
from continual.scenario.images import to_array
from tests.scenario.conftest import make_rows


def make_task(train, test=None, **changes):
    test = train[:5] if test is None else test
    values = {"name": "t", "kind": "text-classification", "labels": ("pos", "neg")}
    sources = {"train": RowsSource(rows=train), "test": RowsSource(rows=test)}
    return Task(**{**values, **sources, **changes})


def texts(split):
    return set(split.column("text"))


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), limit=st.integers(1, 39))
def test_limit_and_validation_do_not_depend_on_the_order_of_rows(seed, limit):
    """Shuffled rows give the same examples in every split, and the asked number of them."""
    rows = make_rows()
    mixed = random.Random(seed).sample(rows, len(rows))
    limits = Limit(train=limit, test=3)
    first = make_task(rows, rows, limit=limits).load()
    second = make_task(mixed, mixed, limit=limits).load()

    for part in ("train", "validation", "test"):
        one, other = getattr(first, part), getattr(second, part)
        assert texts(one) == texts(other)
        assert set(one.column("id")) == set(other.column("id"))
    assert (len(first.train), len(first.test)) == (min(limit, 36), 3)


def test_a_limit_is_not_the_first_rows(rows):
    """The examples that a limit keeps are spread over the data, in the order of its rows."""
    kept = make_task(rows(100), limit=Limit(train=20)).load().train.column("text")

    assert kept != [row["text"] for row in rows(20)]
    assert kept == sorted(kept, key=[row["text"] for row in rows(100)].index)


def test_validation_is_carved_from_train(rows):
    """A share of train becomes validation; together they are train, without an overlap."""
    data = make_task(rows(40), validation_fraction=0.25).load()

    assert (len(data.train), len(data.validation)) == (30, 10)
    assert texts(data.train) | texts(data.validation) == {row["text"] for row in rows(40)}


def test_a_given_validation_split_leaves_train_whole(rows):
    """Nothing is taken from train where the data has a validation split."""
    data = make_task(rows(40), validation=RowsSource(rows=rows(6, word="other"))).load()

    assert (len(data.train), len(data.validation)) == (40, 6)


def test_validation_may_be_empty_only_when_asked(rows):
    """validation_fraction 0 leaves none; one distinct row cannot be shared."""
    assert len(make_task(rows(10), validation_fraction=0.0).load().validation) == 0
    with pytest.raises(InputError, match="nothing is left of 3 training rows"):
        make_task([{"text": "x", "label": "pos"}] * 3).load()


def test_repeated_inputs_stay_on_one_side_and_are_counted(rows, caplog):
    """Copies never straddle train and validation; warnings give the counts."""
    train = rows(40) + rows(10)
    with caplog.at_level(logging.WARNING, "continual.scenario"):
        data = make_task(train, [*rows(2), {"text": "new", "label": "pos"}]).load()

    assert not texts(data.train) & texts(data.validation)
    shared = len(texts(data.test) & texts(data.train))
    assert f"{shared} of 3 test inputs are also in train." in data.warnings
    copies, total = len(data.train) - len(texts(data.train)), len(data.train)
    assert f"{copies} of {total} train inputs repeat an earlier one." in data.warnings
    assert "task t:" in caplog.text


def test_white_space_and_labels_do_not_hide_an_overlap(rows):
    """An input counts as repeated whatever its label and its white space."""
    test = [{"text": f"  {row['text']}\n", "label": "neg"} for row in rows(40)]
    data = make_task(rows(40), test, validation_fraction=0.0).load()

    assert data.warnings == (
        "no test example of 1 classes: pos.",
        "40 of 40 test inputs are also in train.",
    )


def test_a_test_split_may_lack_a_class_and_says_so(rows):
    """A few classes of many, not all: those that are there can be scored."""
    few = [row for row in rows(12) if row["label"] == "pos"]
    data = make_task(rows(12), few, classes=("neg", "pos")).load()

    assert len(data.test) == len(few)
    assert "no test example of 1 classes: neg." in data.warnings


def test_ids_are_distinct_and_stable(rows):
    """An id is the hash of the content; equal rows get a suffix; an id column is taken over."""
    train = rows(10)
    data = make_task([*train, train[0]], validation_fraction=0.0).load()
    ids = data.train.column("id")
    named = [{**row, "key": i // 2} for i, row in enumerate(train)]
    own = make_task(named, named, columns={"id": "key"}, validation_fraction=0.0).load()

    assert ids[-1] == f"{ids[0]}-2"
    assert len(set(ids)) == 11
    assert own.train.column("id")[:4] == ["0", "0-2", "1", "1-2"]
    assert "5 of 10 train ids repeat; they got a suffix." in own.warnings
    assert make_task(train).load().train[0].id in ids


def test_loading_twice_gives_the_same_object(rows):
    """The data of equal tasks is read once, and its fingerprint follows the content."""
    task, other = make_task(rows(20)), make_task(rows(20))
    changed = make_task([*rows(19), {"text": "another", "label": "pos"}])

    assert task.load() is other.load()
    assert task.load().fingerprint != changed.load().fingerprint


def test_a_split_is_read_in_columns_rows_and_slices(rows):
    """Columns, examples, slices and selections of a split agree."""
    split = make_task(rows(40), validation_fraction=0.0).load().train
    examples = list(split)

    assert split.column("text") == [example.text for example in examples]
    assert split.column("target") == [example.target for example in examples]
    assert list(split[3:7]) == examples[3:7]
    assert split[-1] == examples[-1]
    assert list(split.select([5, 2])) == [examples[5], examples[2]]
    assert list(split) == examples
    with pytest.raises(InputError, match="did you mean 'text'"):
        split.column("txt")
    with pytest.raises(IndexError):
        split[40]


@pytest.mark.parametrize(
    ("values", "labels", "expected"),
    [
        ([0, 1, 1], ("bad", "good"), [0, 1, 1]),
        ([7, 3, 3], ("3", "7"), [1, 0, 0]),
        (["7", "3", "3"], ("3", "7"), [1, 0, 0]),
        ([1.0, 0.0, 0.0], ("bad", "good"), [1, 0, 0]),
        ([True, False, False], ("False", "True"), [1, 0, 0]),
    ],
)
def test_labels_as_numbers_or_text(values, labels, expected):
    """A number is a position, unless a label reads as a number: then it is a name."""
    rows = [{"text": f"{i}", "label": value} for i, value in enumerate(values)]
    data = make_task(rows, rows, labels=labels, validation_fraction=0.0).load()

    assert data.train.column("label") == expected


def test_labels_of_a_class_label_feature_are_names():
    """The names of a ClassLabel count, whichever order the task lists them in."""
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["pos", "neg"])})
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]}, features=features)
    task = make_task(rows, rows, labels=("neg", "pos"), validation_fraction=0.0)

    assert task.load().train.column("label") == [1, 0]


def test_unknown_labels_are_named_and_counted(rows):
    """A label that is not in the list is named with its count and the nearest match."""
    train = [*rows(4), *[{"text": str(i), "label": "poss"} for i in range(3)]]

    with pytest.raises(InputError, match=r"'poss' \(3 rows\).*did you mean 'pos'"):
        make_task(train).load()


def test_missing_values_are_counted(rows):
    """Rows without a text or a label are refused with their number."""
    train = [*rows(4), {"text": None, "label": "pos"}, {"text": "x", "label": None}]

    with pytest.raises(InputError, match="1 in 'text', 1 in 'label'"):
        make_task(train).load()


def test_a_missing_column_names_those_that_exist(rows):
    """The message shows the columns of the data and the nearest one."""
    train = [{"texts": row["text"], "label": row["label"]} for row in rows(4)]

    with pytest.raises(InputError, match=r"\['texts', 'label'\]; did you mean 'texts'"):
        make_task(train).load()
    with pytest.raises(InputError, match=r"\{title\} of the prompt"):
        make_task(rows(4), prompt="{title} {text}").load()


def test_a_split_without_rows_is_refused(rows):
    """Neither an empty source nor a class without rows passes."""
    with pytest.raises(InputError, match="has no rows"):
        make_task([], rows(4)).load()
    with pytest.raises(InputError, match="no rows with label 'neg'"):
        make_task(rows(4), rows(4, labels=("pos",)), classes=("neg",)).load()


def test_prompts_name_further_columns():
    """A prompt may name columns of the data beside the text; they enter the id."""
    rows = [{"a": "one", "b": str(i), "label": "pos"} for i in range(3)]
    task = make_task(rows, rows, columns={"text": "a"}, prompt="{text}+{b}=")
    example = task.load().test[2]

    assert task.render(example) == "one+2="
    assert example.fields == {"b": "2"}
    assert len(set(task.load().test.column("id"))) == 3


def test_the_four_kinds_stand_in_one_sequence(rows):
    """Each kind has its own score, target and columns."""
    generation = [{"text": f"{i}+1", "target": str(i + 1)} for i in range(9)]
    pictures = [{"image": np.full((2, 2), i / 9), "label": i % 2} for i in range(9)]
    both = {name: RowsSource(rows=value) for name, value in [("g", generation), ("i", pictures)]}
    tasks = (
        make_task(rows(9)),
        Task(name="g", kind="text-generation", train=both["g"], test=both["g"]),
        make_task(rows(9), name="l", kind="language-modeling", labels=()),
        Task(
            name="i",
            kind="image-classification",
            train=both["i"],
            test=both["i"],
            labels=("a", "b"),
        ),
    )
    found = [experience.task.load().test[0] for experience in Scenario(name="s", tasks=tasks)]

    assert [task.score for task in tasks] == [
        "accuracy",
        "exact_match",
        "token_accuracy",
        "accuracy",
    ]
    assert [example.target for example in found] == ["pos", "1", "", "a"]
    assert found[3].image.dtype == np.float32


@pytest.mark.parametrize(
    ("value", "shape", "peak"),
    [
        (np.full((3, 4), 255, np.uint8), (3, 4), 1.0),
        ([[0, 51], [102, 255]], (2, 2), 1.0),
        ([[0.0, 0.5]], (1, 2), 0.5),
        (np.full((3, 4, 1), 0.25), (3, 4), 0.25),
        (np.full((3, 4, 3), 51, np.uint8), (3, 4, 3), 0.2),
    ],
)
def test_images_become_floats_in_the_unit_interval(value, shape, peak):
    """Integers are 0 to 255, floats 0 to 1; the result is read-only float32."""
    image = to_array(value)

    assert (image.shape, image.dtype) == (shape, np.float32)
    assert float(image.max()) == pytest.approx(peak)
    with pytest.raises(ValueError, match="read-only"):
        image[0, 0] = 1


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "P", "I;16"])
def test_pillow_images_of_every_mode(mode):
    """Grey stays (H, W); colour, palette and alpha become (H, W, 3)."""
    from PIL import Image

    grey = mode in ("L", "1", "I;16")
    assert to_array(Image.new(mode, (4, 3))).shape == ((3, 4) if grey else (3, 4, 3))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((3, 4, 4)), "channels last"),
        (np.full((2, 2), 1.5), r"floats in \[0, 1\]"),
        ([[256]], "integers 0 to 255"),
        ("picture", "array of numbers"),
        ([[float("nan")]], r"floats in \[0, 1\]"),
    ],
)
def test_what_is_no_image_is_refused(value, message):
    """Other shapes, ranges and types are named."""
    with pytest.raises(InputError, match=message):
        to_array(value)


def test_a_probe_gives_documents(rows):
    """Blank documents are left out, the limit looks at the content, a missing column is named."""
    source = RowsSource(rows=[*rows(9), {"text": "  ", "label": "pos"}])
    probe = Probe(name="p", source=source)

    assert len(probe.load().documents) == 9
    assert len(replace(probe, limit=4).load().documents) == 4
    assert probe.load().fingerprint != replace(probe, limit=4).load().fingerprint
    with pytest.raises(InputError, match="did you mean 'text'"):
        replace(probe, column="tex").load()
