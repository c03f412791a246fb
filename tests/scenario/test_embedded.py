"""The scenarios that come with the library: real data, nothing downloaded, no give-away."""

import json
import re
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from continual.errors import InputError
from continual.scenario import HubSource, catalogue, load_scenario, validate_scenario
from continual.scenario.docstrings import package_docstrings
from continual.scenario.embedded import THEMES, digits, documentation, documents
from continual.scenario.extraction_cache import cached
from continual.scenario.prose import prose, without_copies


@pytest.fixture(autouse=True, scope="module")
def extraction_cache(request):
    """Read the packages once per version of them and of the code, beside pytest's own cache."""
    folder = request.config.cache.mkdir("continual-scenario")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def pydocs(extraction_cache):
    """The classification scenario."""
    return load_scenario("pydocs")


def test_the_catalogue_is_correct():
    """Every shipped file is valid, named as its scenario, and says on what terms its data is."""
    assert {"pydocs", "pydocs-lm", "split-digits", "cl-long-15"} <= set(catalogue())
    for name, path in catalogue().items():
        assert validate_scenario(path) == []
        scenario = load_scenario(name)
        assert scenario.name == name
        for task in scenario.tasks:
            if isinstance(task.train, HubSource):
                assert "/" in task.train.hub  # plain names are of scripts, which no longer load
                assert "Licence" in scenario.description


@pytest.mark.parametrize("i", range(5))
def test_a_task_of_pydocs(pydocs, i):
    """Balanced classes, enough examples, no label word, no copy across splits, a version."""
    task = pydocs.tasks[i]
    data = task.load()
    counts = Counter(data.test.column("label"))
    words = "|".join(task.labels)

    assert set(counts) == set(range(len(task.labels)))
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(data.train) >= 150
    assert len(data.test) >= 60
    assert data.warnings == ()
    assert len(data.versions) == 1
    assert len({text.split()[0] for text in task.verbalizers}) == len(task.labels)
    for split in (data.train, data.validation, data.test):
        for text in split.column("text"):
            assert not re.search(rf"\b({words})\b|>>>", text, re.I)
            assert 40 <= len(text) <= 400


def test_pydocs_has_no_near_copies_across_the_split():
    """No test text shares half of its word sequences with a training text."""
    train = [row["text"] for row in documentation("pandas", "train").rows]
    test = [row["text"] for row in documentation("pandas", "test").rows]

    assert len(without_copies(train + test)) == len(train) + len(test)


def test_documents_keep_their_names():
    """A document of the language-modelling scenario begins with what it documents."""
    rows = documents("numpy", "test").rows

    assert len(rows) == 100
    assert all(re.match(r"[A-Za-z]\w*", row["text"]) for row in rows)
    assert max(len(row["text"]) for row in rows) <= 1500


def test_reading_docstrings_imports_no_package():
    """The source is parsed; importing torch or pandas for its text would take seconds."""
    code = (
        "import sys; from continual.scenario.docstrings import package_docstrings\n"
        "found = package_docstrings('torch', ('optim',))\n"
        "print(len(found) > 20, [p for p in ('torch', 'pandas', 'scipy') if p in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "True []"


def test_what_is_public():
    """Methods of public classes count; private names and tests do not."""
    found = package_docstrings("numpy", ("linalg", "polynomial"))
    names = {docstring.name for docstring in found}

    assert {"solve", "ABCPolyBase.degree"} <= names
    assert not any(part.startswith("_") for name in names for part in name.split("."))
    assert not any("tests" in docstring.module for docstring in found)


def test_prose_leaves_out_what_gives_the_answer_away():
    """Names, code, references, signatures and secret words go; the sentences stay."""
    text = """solve_it(a, b)

Solve a linear system of equations with `scipy.linalg` routines and a LinAlgHelper.

Parameters
----------
a : (M, M) array_like
    The coefficients of the system that is to be solved.

See Also
--------
inv : something else entirely

Examples
--------
>>> solve_it(1, 2)
3
"""
    found = prose(text, {"routines"})

    assert found == (
        "Solve a linear system of equations with and a. "
        "The coefficients of the system that is to be solved."
    )
    assert prose("Too short to say anything.", set()) == ""


def test_copies_are_found_by_shared_word_sequences():
    """A text with a changed word is a copy, another text is not."""
    text = "return the sum of all elements of the array along the given axis"
    changed = text.replace("array", "matrix")

    assert without_copies([text, "an entirely different sentence about something", changed]) == [
        0,
        1,
    ]


def test_unknown_parts_and_packages_are_refused():
    """The known words are named."""
    with pytest.raises(InputError, match="did you mean 'numpy'"):
        documentation("numpi", "train")
    with pytest.raises(InputError, match="'test', 'train'"):
        digits("held-out")
    assert len(THEMES) == 5


def test_split_digits():
    """Five class-incremental tasks of two digits; grey 8x8 images in [0, 1]; no shared image."""
    scenario = load_scenario("split-digits")
    data = [experience.task.load() for experience in scenario]
    image = data[0].train[0].image

    assert [experience.new_labels for experience in scenario][:2] == [("0", "1"), ("2", "3")]
    assert (image.shape, image.dtype) == ((8, 8), np.float32)
    assert 0 <= image.min() < image.max() <= 1
    assert sum(len(d.train) + len(d.validation) + len(d.test) for d in data) == 1797
    assert 0.15 < sum(len(d.test) for d in data) / 1797 < 0.25
    assert all(d.warnings == () for d in data)


def test_the_extraction_cache_survives_damage(tmp_path, monkeypatch):
    """A damaged file is replaced, changed code has its own file, a blocked folder does no harm."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = tmp_path / "code.py"
    code.write_text("1")

    assert cached("x", [code], lambda: [1]) == [1]
    assert cached("x", [code], lambda: [2]) == [1]
    file = next((tmp_path / "continual").glob("x-*.json"))
    file.write_text("[1")
    assert cached("x", [code], lambda: [3]) == [3]
    assert json.loads(file.read_text()) == [3]
    code.write_text("2")
    assert cached("x", [code], lambda: [4]) == [4]
    monkeypatch.setenv("XDG_CACHE_HOME", str(code))
    assert cached("x", [code], lambda: [5]) == [5]
