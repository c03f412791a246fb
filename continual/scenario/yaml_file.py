"""Reads YAML without surprises: safe values, every duplicate key found, no alias explosion."""

from __future__ import annotations

from typing import Any

import yaml

from continual.scenario.problems import Problem

TAGS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)  # of !!bool x, ...
LARGEST = 200_000  # values in a file, with every alias written out


def read_yaml(text: str) -> tuple[Any, list[Problem]]:
    """Return the values of a YAML text and what is wrong with it as YAML.

    The values are None where the text cannot be parsed at all.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None, [Problem(path="", given="an empty file", allowed="a scenario")]
        if problem := _expansion(node):
            return None, [problem]
        duplicates = _duplicates(node, "")  # before constructing, which merges keys into the node
        return loader.construct_document(node), duplicates
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        given = error.problem or "something else"
        return None, [Problem(path=where, given=given, allowed="plain YAML (safe values only)")]
    except RecursionError:
        allowed = "values that are not nested in each other a hundred times"
        return None, [Problem(path="", given="nesting without end", allowed=allowed)]
    except (yaml.YAMLError, *TAGS) as error:
        given = (str(error) or type(error).__name__).splitlines()[0]
        return None, [Problem(path="", given=given, allowed="plain YAML (safe values only)")]


def _children(node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        return [(f".{key.value}", value) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [(f"[{i}]", value) for i, value in enumerate(node.value)]
    return []


def _duplicates(node: yaml.Node, path: str) -> list[Problem]:
    problems = []
    seen: dict[str, yaml.Node] = {}
    for key, _ in node.value if isinstance(node, yaml.MappingNode) else []:
        line = key.start_mark.line + 1
        other = seen.setdefault(str(key.value), key)
        if other is not key:
            first = other.start_mark.line + 1
            given = f"the key {key.value!r} again in line {line}"
            allowed = f"each key once (first in line {first})"
            where = f"{path}.{key.value}".lstrip(".")
            problems.append(Problem(path=where, given=given, allowed=allowed))
    for step, child in _children(node):
        problems += _duplicates(child, f"{path}{step}".lstrip("."))
    return problems


def _expansion(root: yaml.Node) -> Problem | None:
    """Refuse a file that contains itself, or that aliases blow up."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node) -> int:
        if id(node) in open_nodes:
            return LARGEST + 1
        if id(node) not in sizes:
            open_nodes.add(id(node))
            sizes[id(node)] = 1 + sum(size(child) for _, child in _children(node))
            open_nodes.remove(id(node))
        return sizes[id(node)]

    if size(root) <= LARGEST:
        return None
    allowed = f"at most {LARGEST} values, with every alias written out"
    return Problem(path="", given="a file whose aliases expand without end", allowed=allowed)
