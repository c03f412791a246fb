"""What tiny-lm reads: the pretraining part of CPython's own text, as documents.

Module sources and language-reference topics come from `continual.scenario.stdlib`; every docstring
of a pretraining module is one more document, dedented, so that the model also meets short
plain-text API documentation on its own. Nothing of a third-party package is read.
"""

import ast
import inspect
import warnings

from continual.scenario.stdlib import language_reference, module_sources

SHORTEST_DOCSTRING = 40  # characters; shorter ones say nothing that the source does not


def docstrings(modules: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return the distinct docstrings of `modules` (module, class, function) as plain text."""
    seen: dict[str, str] = {}
    for module in modules:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in old modules
            tree = ast.parse(module["text"])
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = inspect.cleandoc(ast.get_docstring(node, clean=False) or "")
                if len(text) >= SHORTEST_DOCSTRING:
                    line = 1 if isinstance(node, ast.Module) else node.lineno
                    seen.setdefault(text, f"{module['id']}:{line}")
    return [{"id": name, "text": text} for text, name in seen.items()]


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
