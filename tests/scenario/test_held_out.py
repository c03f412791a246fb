"""What may choose settings: the first tasks, by their validation splits."""

from dataclasses import replace

import pytest

from continual import InputError
from continual.scenario import CallableSource, Limit, Scenario, held_out, load_scenario
from tests.sequences import rows, small_scenario


@pytest.mark.parametrize("name", ["pydocs", "split-digits"])
def test_it_learns_the_same_and_is_tested_on_validation(name):
    """Training examples are those of the whole sequence, in their order; the test is never seen."""
    whole = load_scenario(name)
    first = held_out(whole)
    before, now = whole.tasks[0].load(), first.tasks[0].load()

    assert (len(first), first.probes) == (1, ())
    assert list(now.train.column("target")) == list(before.train.column("target"))
    assert now.train.column("id") == before.train.column("id")
    assert now.test.column("id") == before.validation.column("id")
    assert now.validation.column("id") == before.validation.column("id")
    assert not set(now.test.column("id")) & set(before.test.column("id"))


def test_limits_have_been_applied():
    """A limit of the test split does not cut the validation split that stands for it."""
    sources = [("weather", rows("weather", 40, 0), rows("weather", 9, 1000))]
    scenario = Scenario.from_lists("s", sources, limit=Limit(train=30, test=1))

    assert len(held_out(scenario).tasks[0].load().test) == len(scenario.tasks[0].load().validation)


def test_several_tasks_may_have_been_seen():
    """In their order."""
    assert [t.name for t in held_out(small_scenario(3), tasks=2).tasks] == ["weather", "food"]


def forbidden() -> list[dict[str, str]]:
    """Stand for data that must not be read."""
    raise AssertionError("this was read")


def test_test_splits_and_later_tasks_are_not_read():
    """Their sources may be anything, even something that cannot be read."""
    never = CallableSource(callable=f"{__name__}:forbidden")
    seen, later = small_scenario(2).tasks
    later = replace(later, train=never, test=never)
    whole = replace(small_scenario(2), tasks=(replace(seen, test=never), later))

    (task,) = held_out(whole).tasks
    assert task.load().test.column("id") == seen.load().validation.column("id")


def test_what_cannot_choose_is_refused():
    """Too many tasks, or none to judge by."""
    with pytest.raises(InputError, match="takes 1 to 2 tasks of scenario 'small'; got 3"):
        held_out(small_scenario(2), tasks=3)
    topic = ("weather", rows("weather", 8, 0), rows("weather", 4, 1000))
    bare = Scenario.from_lists("bare", [topic], validation_fraction=0.0)
    with pytest.raises(InputError, match="'weather' has no validation split, by which alone"):
        held_out(bare)
