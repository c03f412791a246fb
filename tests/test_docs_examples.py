"""The examples of the documentation that stand alone are run, page by page."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("backbones.md", "catalogue.md", "decomposition.md", "scenarios.md")


@pytest.mark.parametrize(
    "page",
    [
        *PAGES,
        pytest.param("avalanche.md", marks=pytest.mark.slow),
        pytest.param("without-our-loop.md", marks=pytest.mark.slow),
        pytest.param("methods/peft-types.md", marks=pytest.mark.slow),
    ],
)
def test_the_examples_of_a_page_run_from_top_to_bottom(page, tmp_path, monkeypatch):
    """As a reader would type them."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), flags=re.DOTALL)

    assert blocks
    exec("\n".join(blocks), {"__name__": "example"})
