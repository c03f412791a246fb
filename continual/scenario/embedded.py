"""The data of the embedded scenarios: nothing is downloaded, everything is installed already.

    documentation(package)    which part of a package does this docstring belong to?
    documents(package)        the docstrings themselves, as documents
    digits()                  scikit-learn's 8x8 handwritten digits

The installed versions decide the text, so every function returns them beside its rows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from continual.errors import InputError, unknown
from continual.scenario.docstrings import Docstring, package_docstrings, package_version
from continual.scenario.extraction_cache import cached
from continual.scenario.prose import normalised, prose, without_copies
from continual.scenario.sources import Rows

PARTS = ("train", "test")

PER_CLASS = 130  # rows of one class, both parts together
POOL = 250  # docstrings of one class that are looked at
FEWEST = 25  # rows of one class below which the task would say nothing
TEST_SHARE = 0.25
DOCUMENTS = 400  # of one package, both parts together
POOL_DOCUMENTS = 800  # documents of one package that are looked at
FEWEST_DOCUMENT_WORDS = 20
LONGEST_DOCUMENT = 1500  # characters

# package -> label -> parts of the package (modules or folders, without .py)
THEMES: dict[str, dict[str, tuple[str, ...]]] = {
    "numpy": {
        "masked": ("ma",),
        "algebra": ("linalg", "fft", "matrixlib", "polynomial", "lib/_polynomial_impl"),
        "arrays": (
            "_core/_add_newdocs",
            "_core/fromnumeric",
            "_core/multiarray",
            "_core/numeric",
            "_core/shape_base",
        ),
    },
    "scipy": {
        "statistics": ("stats",),
        "signals": ("signal",),
        "sparse": ("sparse",),
    },
    "pandas": {
        "index": ("core/indexes",),
        "groups": ("core/groupby", "core/window", "core/resample"),
        "files": ("io",),
    },
    "sklearn": {
        "metrics": ("metrics",),
        "predictors": ("linear_model", "ensemble", "tree", "svm", "neighbors"),
        "clusters": ("cluster", "decomposition", "manifold", "mixture"),
    },
    "torch": {
        "layers": ("nn",),
        "parallel": (
            "distributed/checkpoint",
            "distributed/distributed_c10d",
            "distributed/elastic",
            "distributed/fsdp",
            "distributed/optim",
            "distributed/rpc",
        ),
        "quantization": ("ao/nn", "ao/quantization"),
    },
}
NICKNAMES = {
    "numpy": ("np",),
    "pandas": ("pd",),
    "sklearn": ("scikit", "learn"),
    "torch": ("pytorch",),
}


def documentation(package: str, part: str) -> Rows:
    """Return prose of a package's docstrings with the part of the package that each is about.

    Names that give the answer away are gone (see `prose`), copies are dropped before the split, the
    classes are balanced, and which part a row is in is decided by its hash.

    Args:
        package: numpy, scipy, pandas, sklearn or torch.
        part: train or test.

    Returns:
        Rows with `text` and `label`.

    Raises:
        InputError: the package or the part is unknown, not installed, or has too few docstrings.
    """
    _check(package, part)
    chosen = [
        {"text": text, "label": label}
        for label, texts in _classes(package).items()
        for text in _half(texts, part)
    ]
    return Rows(rows=chosen, versions=dict([package_version(package)]))


def documents(package: str, part: str) -> Rows:
    """Return the docstrings of a package as documents, each under the name that it documents.

    Copies are dropped before the split; which part a document is in is decided by its hash.

    Returns:
        Rows with `text`, at most 1500 characters each.

    Raises:
        InputError: the package or the part is unknown, or not installed.
    """
    _check(package, part)
    rows = [{"text": text} for text in _half(_documents(package), part)]
    return Rows(rows=rows, versions=dict([package_version(package)]))


def digits(part: str) -> Rows:
    """Return scikit-learn's digits: `image` (8, 8) float32 in [0, 1] and `label` "0" to "9".

    Which part an image is in (about 80 % train) is decided by its pixels.

    Raises:
        InputError: the part is neither train nor test.
    """
    from sklearn.datasets import load_digits

    if part not in PARTS:
        raise unknown("part", part, PARTS)
    data: Any = load_digits()
    images = (data.images / 16).astype("float32")
    rows: list[dict[str, Any]] = [
        {"image": image, "label": str(label)}
        for image, label in zip(images, data.target, strict=True)
        if (_share(image.tobytes()) < 0.2) == (part == "test")
    ]
    return Rows(rows=rows, versions=dict([package_version("sklearn")]))


@lru_cache(maxsize=len(THEMES))
def _classes(package: str) -> dict[str, list[str]]:
    return _cached("documentation", package, _read_classes)


@lru_cache(maxsize=len(THEMES))
def _documents(package: str) -> list[str]:
    return _cached("documents", package, _read_documents)


def _cached(what: str, package: str, compute: Callable[[str], Any]) -> Any:
    """Parsing a package takes a second or two, so what was read is kept on disk."""
    room = Path(__file__).parent
    code = [room / f"{module}.py" for module in ("docstrings", "embedded", "prose")]
    name = "-".join([what, *package_version(package)])
    return cached(name, code, partial(compute, package))


def _read_classes(package: str) -> dict[str, list[str]]:
    """Return label -> distinct texts, as many for each label, both parts together."""
    found = {label: package_docstrings(package, parts) for label, parts in THEMES[package].items()}
    owners: dict[str, set[str]] = defaultdict(set)
    for label, docstrings in found.items():
        for docstring in docstrings:
            owners[docstring.text].add(label)
    pool: list[tuple[str, str]] = []  # text, label
    for label, docstrings in found.items():
        own = {d.text: d for d in docstrings if len(owners[d.text]) == 1}
        ranked = sorted(own.values(), key=lambda docstring: _key("pool", docstring.text))
        texts = (prose(docstring.text, _secrets(package, docstring)) for docstring in ranked)
        pool += [(text, label) for text in islice(filter(None, texts), POOL)]
    pool.sort(key=lambda row: _key("order", row[0]))
    kept = [pool[i] for i in without_copies([text for text, _ in pool])]
    classes = {label: [text for text, own in kept if own == label] for label in found}
    size = min(PER_CLASS, *(_enough(package, label, len(classes[label])) for label in classes))
    return {label: texts[:size] for label, texts in classes.items()}


def _read_documents(package: str) -> list[str]:
    """Return distinct documents, both parts together."""
    modules = tuple(part for parts in THEMES[package].values() for part in parts)
    texts = {
        f"{found.name}{found.signature}\n\n{found.text}"[:LONGEST_DOCUMENT].rstrip()
        for found in package_docstrings(package, modules)
        if len(normalised(found.text)) >= FEWEST_DOCUMENT_WORDS
    }
    ordered = sorted(texts, key=lambda text: _key("order", text))[:POOL_DOCUMENTS]
    return [ordered[i] for i in without_copies(ordered)][:DOCUMENTS]


def _check(package: str, part: str) -> None:
    if part not in PARTS:
        raise unknown("part", part, PARTS)
    if package not in THEMES:
        raise unknown("package", package, THEMES)


def _secrets(package: str, docstring: Docstring) -> set[str]:
    """Return the names that would give the answer away, with the labels in both numbers."""
    modules = [word for step in docstring.module.split("/") for word in (step, *step.split("_"))]
    labels = [form for label in THEMES[package] for form in (label, f"{label}s", label.rstrip("s"))]
    names = [docstring.name, *docstring.name.split(".")]
    return {package, *NICKNAMES.get(package, ()), *modules, *labels, *names} - {""}


def _enough(package: str, label: str, size: int) -> int:
    if size < FEWEST:
        distribution, number = package_version(package)
        raise InputError(
            f"{distribution} {number} has {size} usable docstrings about {label!r}; "
            f"at least {FEWEST} are needed. Install a newer or older {distribution}."
        )
    return size


def _half(texts: Sequence[str], part: str) -> list[str]:
    """Return the texts of one part: the test part has the smallest hashes."""
    ranked = sorted(texts, key=lambda text: _key("part", text))
    cut = round(len(ranked) * TEST_SHARE)
    return ranked[:cut] if part == "test" else ranked[cut:]


def _key(purpose: str, text: str) -> bytes:
    return hashlib.blake2b(f"{purpose}:{text}".encode(), digest_size=8).digest()


def _share(content: bytes) -> float:
    digest = hashlib.blake2b(content, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
