"""Rows and files that the scenario tests share."""

import pytest

WORDS = ("red", "green", "blue", "grey")


def make_rows(count: int = 40, labels: tuple[str, ...] = ("pos", "neg"), word: str = "film"):
    """Distinct rows with the labels in turn."""
    return [
        {"text": f"{word} number {i} is {WORDS[i % 4]}", "label": labels[i % len(labels)]}
        for i in range(count)
    ]


@pytest.fixture(scope="session")
def rows():
    """Make rows of any number, labels and content."""
    return make_rows


@pytest.fixture(autouse=True)
def datasets_cache(tmp_path, monkeypatch):
    """Let datasets cache files in the test's own folder; return that folder."""
    import datasets

    folder = tmp_path / "hf-cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder
