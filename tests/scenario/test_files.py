"""Scenario files: every problem at once, with its path; what is right is loaded."""

import json

import pytest

from continual.errors import InputError
from continual.scenario import (
    catalogue,
    load_scenario,
    scenario_schema,
    validate_scenario,
)
from continual.scenario.values import SCORES

GOOD = """
name: good
setting: task-incremental
description: two tasks
defaults: {backbone: tiny-lm, train: {epochs: 2}}
probes:
  - {name: held, source: {file: text.txt}, limit: 2}
orders: {back: [b, a]}
tasks:
  - name: a
    kind: text-classification
    train: {file: a.csv}
    test: {file: a.csv}
    labels: {pos: good, neg: bad}
    limit: {train: 2}
  - name: b
    kind: language-modeling
    train: {file: text.txt, sample_by: line}
    test: {file: text.txt}
"""
TASK = {
    "name": "a",
    "kind": "text-classification",
    "train": {"callable": "m:f"},
    "test": {"callable": "m:f"},
    "labels": ["x", "y"],
}
SCENARIO = {"name": "s", "setting": "task-incremental", "tasks": [TASK]}


@pytest.fixture
def good(tmp_path):
    """A folder with a correct scenario file and its data."""
    (tmp_path / "a.csv").write_text("text,label\none,pos\ntwo,neg\nthree,pos\nfour,neg\n")
    (tmp_path / "text.txt").write_text("first\nsecond\nthird\n")
    (tmp_path / "good.yaml").write_text(GOOD)
    return tmp_path / "good.yaml"


def changed_task(**changes):
    """The smallest scenario, with a changed task."""
    return {**SCENARIO, "tasks": [{**TASK, **changes}]}


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


def problems_of(values):
    text = values if isinstance(values, str) else json.dumps(values, indent=1)
    return validate_scenario(text if "\n" in text else f"{text}\n")


def test_a_correct_file_is_loaded(good, monkeypatch):
    """Relative files start from the YAML file, wherever the process is."""
    monkeypatch.chdir("/")
    scenario = load_scenario(good)

    assert validate_scenario(good) == []
    assert scenario.tasks[0].verbalizers == ("good", "bad")
    assert scenario.tasks[0].load().train[0].target in ("good", "bad")
    assert scenario.defaults == {"backbone": "tiny-lm", "train": {"epochs": 2}}
    assert len(scenario.probes[0].load().documents) == 2


def test_orders_of_a_file(good):
    """A named order or a seed permutes the tasks; another name is unknown."""
    assert [task.name for task in load_scenario(good, order="back").tasks] == ["b", "a"]
    assert load_scenario(good, order=3) == load_scenario(good).shuffled(3)
    with pytest.raises(InputError, match="did you mean 'back'"):
        load_scenario(good, order="bakc")


BAD = {
    "unknown key": ({**SCENARIO, "descripton": ""}, "descripton", "Did you mean 'description'"),
    "missing key": (without(SCENARIO, "setting"), "setting", "required"),
    "setting": ({**SCENARIO, "setting": "class-incremantal"}, "setting", "'class-incremental'"),
    "unsafe name": ({**SCENARIO, "name": "../../etc"}, "name", "1 to 64 letters"),
    "name of dots": ({**SCENARIO, "name": ".."}, "name", "1 to 64 letters"),
    "number as name": ({**SCENARIO, "name": 3}, "name", "Quote it"),
    "no task": ({**SCENARIO, "tasks": []}, "tasks", "`tasks`, `split`"),
    "task name": (changed_task(name="a/b"), "tasks[0].name", "1 to 64 letters"),
    "kind": (changed_task(kind="text-clasification"), "tasks[0].kind", "'text-classification'"),
    "labels missing": (changed_task(labels=[]), "tasks[0].labels", "class names"),
    "labels twice": (changed_task(labels=["x", "x"]), "tasks[0].labels", "'x' 2 times"),
    "boolean label": (changed_task(labels=[True, "y"]), "tasks[0].labels[0]", "quote the word"),
    "boolean key": (
        "name: s\nlabels: 1\ntasks: [{labels: {yes: a}}]\n",
        "tasks[0].labels",
        "quote",
    ),
    "label with space": (changed_task(labels=["x ", "y"]), "tasks[0].labels[0]", "white space"),
    "classes": (changed_task(classes=["z"]), "tasks[0].classes[0]", "x, y"),
    "score": (changed_task(score="acuracy"), "tasks[0].score", "Did you mean 'accuracy'"),
    "score of kind": (changed_task(score="token_accuracy"), "tasks[0].score", "exact_match"),
    "column": (changed_task(columns={"txt": "a"}), "tasks[0].columns.txt", "Did you mean 'text'"),
    "column template": (changed_task(columns={"text": "{q.a}"}), "tasks[0].columns.text", "plain"),
    "column answer": (
        changed_task(columns={"text": "{q} {y}", "label": "y"}),
        "tasks[0].columns.text",
        "not the answer",
    ),
    "column written": (
        changed_task(columns={"label": "{a}{b}"}),
        "tasks[0].columns.label",
        "Only text and target",
    ),
    "label name": (changed_task(label_names={"4": "z"}), "tasks[0].label_names.4", "x, y"),
    "prompt index": (changed_task(prompt="{0}"), "tasks[0].prompt", "plain name"),
    "prompt attribute": (changed_task(prompt="{text.x}"), "tasks[0].prompt", "plain name"),
    "prompt brace": (changed_task(prompt="{text"), "tasks[0].prompt", "write {{ and }}"),
    "prompt answer": (changed_task(prompt="{text} {label}"), "tasks[0].prompt", "not the answer"),
    "prompt constant": (changed_task(prompt="Answer:"), "tasks[0].prompt", "same prompt"),
    "limit": (changed_task(limit={"train": 0}), "tasks[0].limit.train", "greater than"),
    "limit key": (changed_task(limit={"tran": 1}), "tasks[0].limit.tran", "Did you mean 'train'"),
    "fraction": (
        changed_task(validation_fraction=1),
        "tasks[0].validation_fraction",
        "less than 1",
    ),
    "source": (changed_task(train={"fil": "x"}), "tasks[0].train", "Did you mean 'file'"),
    "two sources": (
        changed_task(train={"hub": "x", "split": "y", "file": "z"}),
        "tasks[0].train.file",
        "unknown key",
    ),
    "hub split": (changed_task(train={"hub": "x"}), "tasks[0].train.split", "required"),
    "callable": (
        changed_task(test={"callable": "m.f"}),
        "tasks[0].test.callable",
        "module:function",
    ),
    "no file": (changed_task(test={"file": "none.csv"}), "tasks[0].test.file", "does not exist"),
    "order": ({**SCENARIO, "orders": {"o": ["b"]}}, "orders.o[0]", "allowed: a"),
    "same names": (
        {**SCENARIO, "tasks": [TASK, {**TASK, "name": "A"}]},
        "tasks[1].name",
        "differs",
    ),
    "probe name": (
        {**SCENARIO, "probes": [{"name": "a", "source": TASK["train"]}]},
        "probes[0].name",
        "tasks[0].name",
    ),
    "split tasks": (
        {**without(SCENARIO, "tasks"), "split": {**TASK, "tasks": 3}},
        "split.tasks",
        "1 to 2",
    ),
    "class order": (
        {**without(SCENARIO, "tasks"), "split": {**TASK, "tasks": 2, "class_order": ["x"]}},
        "split.class_order",
        "Missing: y",
    ),
    "duplicate key": ("name: a\ntasks: []\nname: b\n", "name", "first in line 1"),
    "unsafe YAML": ("name: !!python/object/apply:os.getcwd []\n", "line 1, column 7", "safe"),
    "syntax": ("name: [a\ntasks: 3\n", "line 2, column 6", "plain YAML"),
    "not a mapping": ("- a\n- b\n", "", "a mapping"),
    "empty": ("# nothing\n\n", "", "an empty file"),
    "text for list": ({**SCENARIO, "tasks": "a"}, "tasks", "a list"),
    "defaults key": ({**SCENARIO, "defaults": {"back": "x"}}, "defaults.back", "backbone"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_named_with_its_path(name):
    """The path in the file, and what is allowed or the nearest match."""
    values, path, hint = BAD[name]
    found = [problem for problem in problems_of(values) if problem.path == path]

    assert found, [str(problem) for problem in problems_of(values)]
    assert any(hint in str(problem) for problem in found), [str(problem) for problem in found]


def test_every_mistake_is_reported_at_once(tmp_path):
    """Structure and meaning, in all tasks, in one message; nothing twice."""
    bad = {
        **SCENARIO,
        "name": "a b",
        "colour": 1,
        "tasks": [
            {**TASK, "kind": "clasification"},
            {**without(TASK, "train"), "name": "a", "score": "exact", "prompt": "{0}"},
        ],
    }
    path = tmp_path / "bad.yaml"
    path.write_text(json.dumps(bad))
    expected = {"name", "colour", "tasks[0].kind", "tasks[1].train", "tasks[1].name"}
    expected |= {"tasks[1].score", "tasks[1].prompt"}
    found = validate_scenario(path)

    assert {problem.path for problem in found} == expected
    assert len(found) == len(expected)
    with pytest.raises(InputError, match="has 7 problems") as caught:
        load_scenario(path)
    assert all(f"  {path}: " in str(caught.value) for path in expected)


def test_aliases_cannot_blow_up():
    """Nine levels of nine aliases are refused before they are expanded."""
    levels = [f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 10)]

    found = validate_scenario("\n".join(["l0: &l0 [x, x]", *levels]))
    assert "aliases expand" in str(found[0])
    assert "aliases expand" in str(validate_scenario("a: &a [*a]\n")[0])


def test_an_unknown_scenario_is_answered_with_the_known_ones():
    """A near miss of a name and of a path are both understood."""
    with pytest.raises(InputError, match="did you mean 'pydocs'"):
        load_scenario("pydoc")
    with pytest.raises(InputError, match="does not exist"):
        load_scenario("nowhere/x.yaml")


def test_tasks_and_a_split_stand_side_by_side():
    """The split's tasks follow the others and are named after it."""
    both = {**SCENARIO, "split": {**TASK, "name": "part", "tasks": 2, "seed": 1}}

    assert problems_of(both) == []
    assert problems_of({**both, "orders": {"o": ["part-2", "a", "part-1"]}}) == []


def test_shared_labels_that_disagree_are_a_problem_of_the_file():
    """What only whole tasks show is reported too."""
    tasks = [TASK, {**TASK, "name": "b", "labels": {"x": "ex", "y": "y"}}]
    found = problems_of({**SCENARIO, "setting": "class-incremental", "tasks": tasks})

    assert [problem.path for problem in found] == ["tasks"]
    assert "said as 'ex'" in str(found[0])


def test_the_schema_describes_every_key():
    """The exported JSON schema is plain JSON; every key of every section has a description."""
    schema = json.loads(json.dumps(scenario_schema()))
    sections = [schema, *schema["$defs"].values()]

    assert schema["$schema"].endswith("2020-12/schema")
    for section in sections:
        assert section["additionalProperties"] is False
        for key, entry in section["properties"].items():
            assert entry.get("description"), f"{section['title']}.{key}"


def test_the_schema_accepts_the_catalogue():
    """A JSON schema validator accepts every shipped file and refuses an unknown key."""
    import jsonschema
    import yaml

    schema = scenario_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in catalogue().values():
        values = yaml.safe_load(path.read_text())
        validator.validate(values)
        assert not validator.is_valid({**values, "colour": 1})


def test_a_file_may_name_every_score():
    """The words of the schema are those that tasks know."""
    text = json.dumps(scenario_schema())

    for score in {score for scores in SCORES.values() for score in scores}:
        assert f'"{score}"' in text
