"""What a search may try."""

import pytest

from continual import InputError
from continual.studies.space import axes, check_space, parse_space
from tests.sequences import small_scenario


def test_ranges_and_values_are_told_apart():
    """Whole ends make whole numbers; lists may hold lists."""
    found = parse_space(
        ["train.lr=1e-4..1e-1:log", "train.epochs=1..5", "method.ranks=[0,4],[2,2]", "ewc.lam=1,2"]
    )

    assert [(axis.ends, axis.log) for axis in found[:2]] == [((1e-4, 0.1), True), ((1, 5), False)]
    assert found[2].choices == ([0, 4], [2, 2])
    assert axes({axis.name: axis.written().partition("=")[2] for axis in found}) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.lr", "takes NAME=VALUES, as in train.lr=1e-4"),
        ("lr=1..2", "only settings of train, method, rehearsal, ewc, lwf are searched"),
        ("evaluation.sample=10,20", "the others change what is measured"),
        ("train.lr=1..a", "must be two rising numbers"),
        ("train.lr=0.1..0.1", "must be two rising numbers"),
        ("train.lr=0..1:log", "begins above 0; got 0"),
        ("train.lr=0.1..1:lgo", "may end in :log; got :lgo"),
        ("method.rank=4", "at least two values"),
        ("method.rank=4,4", "no two of them equal"),
        ("method.rank=4..8,16", "with '4..8', method.rank"),
    ],
)
def test_what_is_no_space_is_refused(text, message):
    """With what it should look like."""
    with pytest.raises(InputError, match=message):
        _checked(text, {})


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("method.rnk=4,8", {}, r"method.rnk=4,8: with 4, (.|\n)*rnk"),
        ("train.lr=-1.0..1.0", {}, "with -1.0, "),
        ("method.rank=4,8", {"method": {"rank": 2}}, "given by --set and searched by --space"),
    ],
)
def test_settings_that_a_method_has_not_are_refused(text, settings, message):
    """Before anything is tried."""
    with pytest.raises(InputError, match=message):
        _checked(text, settings)


def _checked(text, settings):
    space = parse_space([text])
    check_space(space, small_scenario(1), "lora", backbone=None, settings=settings)
