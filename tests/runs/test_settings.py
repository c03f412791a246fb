"""What a run is made of is checked before anything happens."""

from dataclasses import replace

import pytest

from continual.errors import InputError
from continual.runs.settings import parse_assignments, resolve
from continual.scenario import Scenario

ROWS = [{"text": "red", "label": "warm"}, {"text": "blue", "label": "cold"}]


def scenario(**defaults):
    return Scenario.from_lists(
        "s", [("t", ROWS, ROWS)], defaults={"backbone": "tiny-lm", **defaults}
    )


def test_what_the_user_sets_wins_over_the_scenario_and_the_library():
    """Precedence: given, recommended, default; and the method's own rate where none is given."""
    from continual.adapters import METHODS

    recommended = scenario(train={"epochs": 4, "batch_size": 8})
    config, options = resolve(
        recommended,
        "lora",
        backbone=None,
        seed=3,
        settings={"train": {"batch_size": 2}, "method": {"rank": 5}},
    )

    assert (config.train.epochs, config.train.batch_size) == (4, 2)
    assert config.train.lr == METHODS["lora"].learning_rate
    assert (options.rank, config.method_options["rank"]) == (5, 5)
    assert (config.backbone, config.seed, config.targets) == ("tiny-lm", 3, "default")


def test_every_wrong_setting_is_reported_at_once():
    """Three mistakes, three sentences, with the nearest right word."""
    with pytest.raises(InputError) as caught:
        resolve(
            scenario(),
            "curlora",
            backbone=None,
            seed=0,
            settings={
                "train": {"epoch": 3, "lr": -1},
                "method": {"ranks": 4},
                "evaluation": {"batch_size": 0},
            },
        )
    message = str(caught.value)

    assert "train.epoch: unknown name" in message
    assert "did you mean 'epochs'?" in message
    assert "train.lr: got -1" in message
    assert "method.ranks: unknown option" in message
    assert "evaluation.batch_size: got 0" in message


def test_values_of_the_wrong_type_are_refused():
    """A rank that is a word is named as such."""
    with pytest.raises(InputError, match=r"method\.rank: got 'many'"):
        resolve(scenario(), "lora", backbone=None, seed=0, settings={"method": {"rank": "many"}})


def test_a_run_needs_a_backbone():
    """Without a recommended backbone, one must be given."""
    bare = Scenario.from_lists("s", [("t", ROWS, ROWS)])
    with pytest.raises(InputError, match="no backbone: give one with --backbone"):
        resolve(bare, "lora", backbone=None, seed=0, settings={})


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("train.lr", "takes NAME=VALUE"),
        ("trian.lr=1", "did you mean 'train'"),
        ("train=3", "needs a name"),
        ("train.lr=[1", "is not YAML"),
    ],
)
def test_assignments_that_cannot_be_read(assignment, message):
    """Each says what an assignment looks like."""
    with pytest.raises(InputError, match=message):
        parse_assignments([assignment])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("2", 2),
        ("true", True),
        ("null", None),
        ("[a, b]", ["a", "b"]),
        ("1.5E2", 150.0),
        ("e1", "e1"),
    ],
)
def test_values_are_yaml_and_scientific_numbers(text, value):
    """1e-3 is a number although YAML 1.1 reads it as a word."""
    assert parse_assignments([f"train.x={text}"]) == {"train": {"x": value}}


@pytest.mark.parametrize(
    ("method", "options"),
    [("nlora", {}), ("slora", {}), ("inclora", {})],
)
def test_ewc_on_numbers_that_begin_anew_is_refused(method, options):
    """It would hold the new task's numbers where the old task's were."""
    given = {"method": options, "ewc": {"lam": 1.0}}
    with pytest.raises(InputError, match=r"give ewc.fisher=weights"):
        resolve(scenario(), method, backbone=None, seed=0, settings=given)

    given["ewc"]["fisher"] = "weights"
    assert resolve(scenario(), method, backbone=None, seed=0, settings=given)[0].ewc.lam == 1.0


@pytest.mark.parametrize(
    ("method", "section", "expected"),
    [("replay", "rehearsal", 100), ("ewc", "ewc", 10000.0), ("lwf", "lwf", 1.0)],
)
def test_a_method_brings_the_settings_that_make_it(method, section, expected):
    """The user's own win over them, and go with other methods too."""
    name = "size" if section == "rehearsal" else "lam"
    found, _ = resolve(scenario(), method, backbone=None, seed=0, settings={})
    mine = {section: {name: 7}}
    other, _ = resolve(scenario(), method, backbone=None, seed=0, settings=mine)
    curlora, _ = resolve(scenario(), "curlora", backbone=None, seed=0, settings=mine)

    assert getattr(getattr(found, section), name) == expected
    assert getattr(getattr(other, section), name) == 7
    assert getattr(getattr(curlora, section), name) == 7


def test_settings_that_are_right_alone_and_wrong_together():
    """The scenario's batch size and the user's micro-batch."""
    with pytest.raises(InputError, match=r"micro_batch_size \(8\) must not exceed batch_size"):
        resolve(
            scenario(train={"batch_size": 4}),
            "lora",
            backbone=None,
            seed=0,
            settings={"train": {"micro_batch_size": 8}},
        )


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        ("joint", {"rehearsal": {"size": 9}}, "no earlier task for rehearsal.size"),
        ("joint", {"lwf": {"lam": 1.0}}, "no earlier task for lwf.lam"),
        ("replay", {"train": {"joint": True}}, "no earlier task for rehearsal.size"),
        ("per-task", {"train": {"joint": True}}, "train.joint would train for other tasks"),
        ("per-task", {"rehearsal": {"size": 9}}, "rehearsal.size would train for other tasks"),
        ("per-task", {"ewc": {"lam": 1.0}}, "ewc.lam would train for other tasks"),
        ("curlora", {"method": {"cores": "per_task"}, "lwf": {"lam": 1.0}}, "lwf.lam would train"),
        ("slora", {"method": {"boundary": "restart"}, "lwf": {"lam": 1.0}}, "boundary=continue"),
    ],
)
def test_what_cannot_go_together_is_refused(method, settings, message):
    """Instead of being ignored, or of training one task's numbers for another."""
    with pytest.raises(InputError, match=message):
        resolve(scenario(), method, backbone=None, seed=0, settings=settings)


def test_a_scenarios_layers_are_not_for_methods_that_adapt_none():
    """What the scenario recommends is left out there; what the user asks for is not."""
    recommending = replace(scenario(), defaults={"backbone": "tiny-lm", "method": {"targets": "x"}})
    asked = {"method": {"targets": "norm"}}

    def targets(method, settings):
        found, _ = resolve(recommending, method, backbone=None, seed=0, settings=settings)
        return found.targets

    assert targets("lora", {}) == targets("peft:lora", {}) == "x"
    assert targets("peft:prefix_tuning", {}) == "default"
    assert targets("peft:ln_tuning", asked) == "norm"


@pytest.mark.parametrize(
    ("method", "settings", "said"),
    [
        ("cola", {"lwf": {"lam": 1.0}}, "moves what it learned into frozen ones"),
        ("dynamic-dora", {"lwf": {"lam": 1.0}}, "moves what it learned into frozen ones"),
        ("glora", {"ewc": {"lam": 1.0, "fisher": "weights"}}, "changes biases beside it"),
    ],
)
def test_companions_that_would_hold_something_else_are_refused(method, settings, said):
    """A teacher that drifts, and biases that nobody holds."""
    with pytest.raises(InputError, match=said):
        resolve(scenario(), method, backbone=None, seed=0, settings=settings)
