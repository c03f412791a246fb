"""Scenarios and tasks are values: they compare, hash, slice and iterate as such."""

import pickle
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continual.errors import InputError
from continual.scenario import Limit, RowsSource, Scenario, Task, split_by_class
from tests.scenario.conftest import make_rows

NAMES = ("a", "b", "c", "d", "e")


def make_scenario(setting="task-incremental", **options):
    lists = [(name, make_rows(8, word=name), make_rows(4, word=f"{name} test")) for name in NAMES]
    return Scenario.from_lists("letters", lists, setting=setting, **options)


def make_task(**changes):
    source = RowsSource(rows=make_rows(30, labels=("x", "y", "z")))
    values = {"name": "t", "kind": "text-classification", "labels": ("x", "y", "z")}
    return Task(**{"train": source, "test": source, **values, **changes})


SCENARIO = make_scenario()


def test_equal_definitions_are_equal_values():
    """Two scenarios from equal rows are equal, hash alike and have one digest."""
    other = make_scenario()

    assert other == SCENARIO
    assert hash(other) == hash(SCENARIO)
    assert other.digest == SCENARIO.digest
    assert replace(other, setting="domain-incremental").digest != other.digest


def test_values_cannot_be_changed():
    """Neither a field nor a mapping inside can be assigned."""
    scenario = make_scenario(defaults={"train": {"epochs": 2}})

    with pytest.raises(FrozenInstanceError):
        scenario.name = "other"
    with pytest.raises(TypeError, match="frozen"):
        scenario.defaults["train"]["epochs"] = 3


def test_a_scenario_survives_pickling():
    """A process that receives a scenario has an equal one."""
    scenario = make_scenario(defaults={"train": {"epochs": 2}})

    assert pickle.loads(pickle.dumps(scenario)) == scenario


def test_iterating_twice_gives_the_same():
    """Each iteration starts at the first experience, also inside another one."""
    assert list(SCENARIO) == list(SCENARIO)
    assert [(i.index, j.index) for i in SCENARIO for j in SCENARIO][:6] == [
        *((0, k) for k in range(5)),
        (1, 0),
    ]


@settings(deadline=None, max_examples=50)
@given(start=st.integers(-7, 7), stop=st.integers(-7, 7), step=st.sampled_from([-2, -1, 1, 2]))
def test_slicing_law(start, stop, step):
    """The tasks of a slice are the slice of the tasks; an empty one is refused."""
    expected = SCENARIO.tasks[start:stop:step]
    if not expected:
        with pytest.raises(InputError, match="one task or more"):
            SCENARIO[start:stop:step]
        return

    part = SCENARIO[start:stop:step]

    assert part.tasks == expected
    assert [experience.index for experience in part] == list(range(len(expected)))
    assert part[-1].task == expected[-1]


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), order=st.permutations(range(len(NAMES))))
def test_a_seeded_order_is_a_permutation_that_forgets_the_present_one(seed, order):
    """Shuffling gives the same tasks in an order that depends on the seed alone."""
    shuffled = SCENARIO.shuffled(seed)

    assert sorted(task.name for task in shuffled.tasks) == list(NAMES)
    assert SCENARIO.permuted(order).shuffled(seed) == shuffled


def test_seeded_orders_are_the_same_for_ever():
    """The order of a seed is a worked number, not a random generator's stream."""
    assert [task.name for task in SCENARIO.shuffled(0).tasks] == ["e", "c", "a", "b", "d"]
    assert len({SCENARIO.shuffled(seed).digest for seed in range(20)}) > 10


def test_permutations_by_position_by_name_and_by_named_order():
    """The three ways to say an order agree; what is no permutation is refused."""
    scenario = replace(SCENARIO, orders={"back": NAMES[::-1]})
    back = scenario.permuted("back")

    assert back == scenario.permuted([4, 3, 2, 1, 0]) == scenario.permuted(NAMES[::-1])
    with pytest.raises(InputError, match="did you mean 'back'"):
        scenario.permuted("bakc")
    with pytest.raises(InputError, match="Missing: c, d, e"):
        scenario.permuted(["a", "b"])
    with pytest.raises(InputError, match="0 to 4"):
        scenario.permuted([0, 1, 2, 3, 5])


def test_split_by_class_partitions_the_classes():
    """Every class is in exactly one task; label ids, data and verbalisers stay."""
    whole = make_task(verbalizers=("ex", "why", "zed"))
    parts = split_by_class(whole, 2)

    assert [part.classes for part in parts] == [("x", "y"), ("z",)]
    assert [part.name for part in parts] == ["t-1", "t-2"]
    assert all(part.labels == whole.labels for part in parts)
    assert parts[1].load().test.column("label") == [2] * 10
    assert parts[1].load().test[0].target == "zed"


def test_split_by_class_orders():
    """Classes come as listed, by seed, or by name; both seed and order is one too many."""
    whole = make_task()

    assert [p.classes for p in split_by_class(whole, 3, order="zxy")] == [("z",), ("x",), ("y",)]
    assert split_by_class(whole, 3, seed=1) == split_by_class(whole, 3, seed=1)
    assert len({split_by_class(whole, 3, seed=s) for s in range(20)}) > 3
    with pytest.raises(InputError, match="not both"):
        split_by_class(whole, 3, seed=1, order="zxy")
    with pytest.raises(InputError, match="allowed: 1 to 3"):
        split_by_class(whole, 4)
    with pytest.raises(InputError, match="Missing: z"):
        split_by_class(whole, 2, order=["x", "y"])


def test_candidates_when_every_task_has_its_own_labels():
    """Task-incremental: the task's labels compete under its own head, at any time."""
    found = SCENARIO.candidates(after=-1, task=3)

    assert (found.head, found.labels, found.current) == ("d", ("neg", "pos"), (0, 1))


def test_candidates_when_all_tasks_share_their_labels():
    """Domain-incremental: one head, one set, all of it current."""
    found = make_scenario("domain-incremental").candidates(after=-1, task=3)

    assert (found.head, found.labels, found.current) == ("shared", ("neg", "pos"), (0, 1))


def test_candidates_when_classes_arrive():
    """Class-incremental: everything seen competes, and what is unseen cannot be scored."""
    scenario = Scenario(
        name="s", tasks=split_by_class(make_task(), 3, order="zxy"), setting="class-incremental"
    )
    late = scenario.candidates(after=1, task=1)

    assert scenario.candidates(after=-1, task=0) is None
    assert scenario.candidates(after=0, task=1) is None
    assert (late.head, late.labels, late.texts) == ("shared", ("z", "x"), ("z", "x"))
    assert late.current == (1,)
    assert [experience.new_labels for experience in scenario] == [("z",), ("x",), ("y",)]
    with pytest.raises(InputError, match="0 to 2"):
        scenario.candidates(after=3, task=0)


def test_tasks_without_labels_have_no_competitors():
    """A language-modelling task can stand beside classification; nothing competes there."""
    source = RowsSource(rows=[{"text": "a"}, {"text": "b"}, {"text": "c"}])
    lm = Task(name="lm", kind="language-modeling", train=source, test=source)
    scenario = Scenario(name="s", tasks=(make_task(), lm), setting="class-incremental")

    assert scenario.candidates(after=-1, task=1).labels == ()
    assert [task.score for task in scenario.tasks] == ["accuracy", "token_accuracy"]


def test_shared_labels_must_agree():
    """Tasks that share labels say them alike, and share all of them where the set is one."""
    first, second = make_task(name="p"), make_task(name="q", verbalizers=("ex", "y", "z"))
    third = make_task(name="r", classes=("x", "y"))

    with pytest.raises(InputError, match="said as 'ex'"):
        Scenario(name="s", tasks=(first, second), setting="class-incremental")
    with pytest.raises(InputError, match="as in task 'p'"):
        Scenario(name="s", tasks=(first, third), setting="domain-incremental")


def test_a_bad_task_is_told_everything_at_once():
    """The constructor lists all problems, each with what is allowed and the nearest match."""
    with pytest.raises(InputError) as caught:
        make_task(name="../up", labels=("x", "x"), score="acuracy", prompt="{0}", classes=("w",))
    message = str(caught.value)

    for part in ("name:", "'x' 2 times", "Did you mean 'accuracy'", "prompt:", "classes[0]"):
        assert part in message


@pytest.mark.parametrize("value", [0, -1, True])
def test_a_limit_is_a_positive_whole_number(value):
    """A limit below 1 and a bool are refused."""
    with pytest.raises(InputError, match=r"limit\.test must be a whole number"):
        Limit(test=value)
