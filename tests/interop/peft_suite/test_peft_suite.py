"""PEFT's own tests pass for every method that has a type, as the documentation says."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from continual.interop.peft_types import type_names
from tests.interop.peft_suite.suite import counted, fetch, run

PAGE = Path(__file__).parents[3] / "docs" / "methods" / "peft-types.md"
MEASURED = "0.21.2"  # the PEFT whose tests the page counts
KINDS = ("lora", "curlora", "nlora", "slora", "dora", "glora")  # one of every shape of adapter
OTHERS = tuple(method for method in type_names() if method not in KINDS)


def said(page):
    """The numbers of passed and skipped tests that the page names, by method."""
    rows = re.findall(r"^\| `([a-z-]+)` \| `[A-Z_]+` \|.* \| (\d+) / (\d+) \|$", page, flags=re.M)
    return {method: (int(passed), int(skipped)) for method, passed, skipped in rows}


def test_the_page_names_every_type():
    """With its counts, whose command is the one that there is."""
    assert said(PAGE.read_text()).keys() == type_names().keys()
    assert "python -m tests.interop.peft_suite.suite" in PAGE.read_text()


def test_counting(tmp_path):
    """A test belongs to the method whose configuration it names, and an error is a failure."""
    cases = {
        "one[lora a-MLP-ContinualLoraConfig-config_kwargs0]": "",
        "two[ContinualLoraConfig]": "<skipped/>",
        "three[False-ContinualLoraConfig]": "<error/>",
        "four[QrLoraConfig]": "<failure/>",
    }
    rows = "".join(f'<testcase name="{name}">{child}</testcase>' for name, child in cases.items())
    (tmp_path / "report.xml").write_text(f"<testsuite>{rows}</testsuite>")
    found = counted("lora", tmp_path / "report.xml")

    assert (found.passed, found.skipped) == (1, 1)
    assert found.failed == ("three[False-ContinualLoraConfig]",)


@pytest.mark.parametrize(
    "methods",
    [
        pytest.param(KINDS, marks=pytest.mark.slow, id="kinds"),
        pytest.param(OTHERS, marks=pytest.mark.soak, id="others"),
    ],
)
def test_pefts_own_tests_pass(methods, tmp_path):
    """None fails for any method, and no fewer pass than the page says; pip fetches them."""
    try:
        folder = fetch(tmp_path)
    except OSError as error:
        pytest.skip(str(error))
    found = run(folder, list(methods))

    assert {one.method: one.failed for one in found if one.failed} == {}
    if version("peft") == MEASURED:
        table = said(PAGE.read_text())
        fewer = {one.method: one.passed for one in found if one.passed < table[one.method][0]}
        assert fewer == {}
