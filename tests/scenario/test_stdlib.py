"""The split of CPython's own text: two parts that share nothing, the same on every call."""

from inspect import unwrap

import pytest

from continual.scenario import stdlib
from continual.scenario.stdlib import language_reference, module_sources

BOTH = [language_reference, module_sources]


@pytest.mark.parametrize("source", BOTH)
def test_the_parts_share_no_document(source):
    """Names are unique over both parts, sorted, and no document is empty."""
    parts = [source("pretraining"), source("held-out")]
    names = [document["id"] for part in parts for document in part]

    assert len(set(names)) == len(names)
    for part in parts:
        assert [document["id"] for document in part] == sorted(d["id"] for d in part)
        assert all(document["text"].strip() for document in part)


@pytest.mark.parametrize("source", BOTH)
@pytest.mark.parametrize("part", stdlib.PARTS)
def test_a_part_is_the_same_on_every_call(source, part):
    """Neither order nor text changes."""
    assert source(part) == source(part)


@pytest.mark.parametrize(
    ("source", "low", "high"), [(language_reference, 0.15, 0.40), (module_sources, 0.02, 0.10)]
)
def test_the_held_out_share_is_about_what_it_says(source, low, high):
    """By characters; the rule fixes the expected share of names only."""
    held_out, rest = (sum(len(d["text"]) for d in source(p)) for p in ("held-out", "pretraining"))

    assert low < held_out / (held_out + rest) < high


def test_no_held_out_paragraph_of_the_reference_is_read_in_pretraining():
    """Topics quote each other; what a held-out one contains is dropped elsewhere."""
    held_out, pretraining = (
        {
            " ".join(paragraph.split())
            for topic in language_reference(part)
            for paragraph in topic["text"].split("\n\n")
        }
        for part in ("held-out", "pretraining")
    )

    assert held_out & pretraining <= {""}


def test_modules_are_the_library_itself():
    """No third-party package, no test, no table."""
    names = {d["id"] for part in stdlib.PARTS for d in module_sources(part)}
    folders = {folder for name in names for folder in name.split("/")[1:-1]}

    assert {"Lib/textwrap.py", "Lib/json/decoder.py"} <= names
    assert not folders & {"site-packages", "dist-packages", "_bundled", "test", "encodings"}
    assert "Lib/locale.py" not in names


def test_the_side_of_a_name_depends_on_nothing_else():
    """Worked: these names keep their side in every version of Python."""
    sides = {name: stdlib._part_of(name, 0.05) for name in ("Lib/textwrap.py", "Lib/ast.py")}

    assert sides == {"Lib/textwrap.py": "held-out", "Lib/ast.py": "pretraining"}


@pytest.mark.parametrize("source", BOTH)
def test_an_unknown_part_is_answered_with_the_two(source):
    """The message names what is allowed and what was given."""
    with pytest.raises(ValueError, match=r"one of \['pretraining', 'held-out'\]; got 'test'"):
        unwrap(source)("test")  # without the tests' own type checker, which would refuse it first
