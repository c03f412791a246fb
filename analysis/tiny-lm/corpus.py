"""What tiny-lm reads: the pretraining part of CPython's own text, as documents.

Module sources and language-reference topics come from `continual.scenario.stdlib`; every docstring
of a pretraining module is one more document, dedented, so that the model also meets short
plain-text API documentation on its own. Nothing of a third-party package is read.

`topic_questions` turns the same docstrings into questions, so that the model learns to sum a text
up in the word that follows it.
"""

import ast
import inspect
import warnings
from collections.abc import Iterator

from continual.scenario.prose import prose
from continual.scenario.stdlib import language_reference, module_sources

SHORTEST_DOCSTRING = 40  # characters; shorter ones say nothing that the source does not


def docstrings(modules: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the distinct docstrings of `modules` (module, class, function) as plain text."""
    seen: dict[str, str] = {}
    for module in modules:
        for line, _, text in _documented(module["text"]):
            if len(text) >= SHORTEST_DOCSTRING:
                seen.setdefault(text, f"{module['id']}:{line}")
    return [{"id": name, "text": text} for text, name in seen.items()]


def topic_questions(modules: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return what a docstring says as `text`, each part of its module's name as a `topic`.

    The text is the prose of the docstring without the module's and the function's own names.
    """
    found: dict[tuple[str, str], None] = {}
    for module in modules:
        path = module["id"].removeprefix("Lib/").removesuffix(".py").removesuffix("/__init__")
        topics = [part.strip("_") for part in path.split("/")]
        secrets = {word for topic in topics for word in (topic, *topic.split("_"))}
        for _, name, text in _documented(module["text"]):
            if shown := prose(text, secrets | {name}):
                found.update(((shown, topic), None) for topic in topics)
    return [{"text": text, "topic": topic} for text, topic in found]


def _documented(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, name ("" for a module) and docstring of everything that has one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in old modules
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module):
            line, name = 1, ""
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            line, name = node.lineno, node.name
        else:
            continue
        yield line, name, inspect.cleandoc(ast.get_docstring(node, clean=False) or "")


def pretraining_documents() -> list[dict[str, str]]:
    """Return every document that tiny-lm is trained on, in a fixed order."""
    modules = module_sources("pretraining")
    return modules + language_reference("pretraining") + docstrings(modules)


def held_out_documents() -> dict[str, list[dict[str, str]]]:
    """Return the two held-out texts, by name."""
    return {
        "modules": module_sources("held-out"),
        "language reference": language_reference("held-out"),
    }
