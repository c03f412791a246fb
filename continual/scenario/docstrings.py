"""Reads docstrings out of installed packages: the source is parsed, never imported.

Public functions, classes and methods count, and so do the `add_newdoc("name", "text")` and
`add_docstr(name, "text")` calls by which numpy, scipy and torch document compiled functions.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from continual.errors import InputError

DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # where it is not named as the package is imported
TEST_FILE = re.compile(r"_?test(s|ing)?(_.*)?|conftest|.*te?st_?utils?")
NOT_PUBLIC = {"tests", "testing", "_internal", "__pycache__", "benchmarks"}
ADDERS = {"add_newdoc", "add_docstr", "_add_docstr"}


@dataclass(frozen=True, kw_only=True)
class Docstring:
    """One public docstring: where it is, the name it documents, the parameters, the text."""

    module: str  # path inside the package, without .py: "linalg/_basic"
    name: str  # "solve", or "Series.corr" for a method
    signature: str  # "(a, b, lower)"; "" where it is not in the source
    text: str  # dedented


def package_version(package: str) -> tuple[str, str]:
    """Return the distribution that a package is installed by, and its version.

    Raises:
        InputError: it is not installed.
    """
    distribution = DISTRIBUTIONS.get(package, package)
    try:
        return distribution, version(distribution)
    except PackageNotFoundError as error:
        raise InputError(
            f"the package {package!r} is not installed; its documentation is the data. "
            f"Install {distribution}."
        ) from error


def package_docstrings(package: str, parts: tuple[str, ...]) -> list[Docstring]:
    """Return the public docstrings of some parts of an installed package, in a fixed order.

    Args:
        package: the top-level package.
        parts: modules or folders inside it, without .py: "linalg", "core/strings".

    Raises:
        InputError: the package is not installed.
    """
    specification = importlib.util.find_spec(package)  # of a top-level name: imports nothing
    if specification is None or not specification.submodule_search_locations:
        package_version(package)
        raise InputError(f"{package!r} is not a package with Python source.")
    root = Path(next(iter(specification.submodule_search_locations)))
    return [found for path in _files(root, parts) for found in _of_file(root, path)]


def _files(root: Path, parts: tuple[str, ...]) -> list[Path]:
    found: dict[Path, None] = {}
    for part in parts:
        single = root / f"{part}.py"
        paths = [single] if single.is_file() else sorted((root / part).rglob("*.py"))
        for path in paths:
            inside = path.relative_to(root).parts
            if not NOT_PUBLIC.intersection(inside) and not TEST_FILE.fullmatch(path.stem):
                found.setdefault(path)
    return list(found)


def _of_file(root: Path, path: Path) -> Iterator[Docstring]:
    source = path.read_bytes()
    if b'"""' not in source:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in other people's strings
        tree = ast.parse(source)
    module = path.relative_to(root).with_suffix("").as_posix()
    for name, signature, text in _documented(tree.body, ""):
        if text.strip():
            yield Docstring(
                module=module, name=name, signature=signature, text=inspect.cleandoc(text)
            )


def _documented(body: list[ast.stmt], owner: str) -> Iterator[tuple[str, str, str]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if node.name.startswith("_"):
                continue
            text = ast.get_docstring(node, clean=False)
            if text:
                yield f"{owner}{node.name}", _signature(node), text
            if isinstance(node, ast.ClassDef) and not owner:
                yield from _documented(node.body, f"{node.name}.")
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and not owner:
            yield from _added(node.value)


def _signature(node: ast.FunctionDef | ast.ClassDef) -> str:
    if isinstance(node, ast.ClassDef):
        return ""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    names += [argument.arg for argument in node.args.kwonlyargs]
    return f"({', '.join(name for name in names if name not in ('self', 'cls'))})"


def _added(call: ast.Call) -> Iterator[tuple[str, str, str]]:
    """Yield the documentation that a call adds to a compiled function."""
    function = call.func.id if isinstance(call.func, ast.Name) else ""
    if function not in ADDERS or len(call.args) < 2:
        return
    names: list[str] = []
    for argument in call.args:
        if isinstance(argument, ast.Attribute):
            names.append(argument.attr)
        constants = (node for node in ast.walk(argument) if isinstance(node, ast.Constant))
        names += [node.value for node in constants if isinstance(node.value, str)]
    texts = [word for word in names if " " in word]
    if texts:
        name = next((word for word in reversed(names) if word.isidentifier()), "")
        longest = max(texts, key=len)
        if name and not name.startswith("_"):
            yield name, "", longest
