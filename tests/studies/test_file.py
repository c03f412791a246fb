"""Studies kept in files."""

from dataclasses import replace

import pytest
import yaml

from continual import InputError
from continual.runs.progress import SilentReporter
from continual.studies import ask, run_study
from continual.studies.grid import Grid, grid_cells
from tests.sequences import QUICK, small_scenario

STUDY = {
    "scenario": "pydocs",
    "methods": ["frozen", "lora:train.lr=0.01"],
    "seeds": [0, 3],
    "orders": ["reverse", 2],
    "settings": {"train": {"epochs": 2, "batch_size": 4}},
}


@pytest.fixture
def study(tmp_path):
    """Write a study file; keyword arguments replace or add keys."""

    def write(**changes):
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(STUDY | changes))
        return str(path)

    return write


def test_a_file_says_every_cell(study):
    """Variants, orders and seeds, the last one inner."""
    asked = ask(study(values={"method.rank": [2, 4]}, methods=["lora"]))

    assert asked.scenario.name == "pydocs"
    assert asked.settings == STUDY["settings"]
    assert asked.grid.cells()[:3] == [
        ("lora:method.rank=2", "reverse", 0),
        ("lora:method.rank=2", "reverse", 3),
        ("lora:method.rank=2", 2, 0),
    ]
    assert len(asked.grid.cells()) == 8


def test_options_stand_above_a_file(study, tmp_path):
    """But for the cells, which are said in one place."""
    asked = ask(study(), backbone="tiny-lm", settings={"train": {"epochs": 5}})

    assert asked.settings["train"] == {"epochs": 5, "batch_size": 4}
    assert asked.backbone == "tiny-lm"
    with pytest.raises(InputError, match="leave out --methods, --seeds"):
        ask(study(), methods="lora", seeds="1")


def test_orders_are_runs_of_their_own(tmp_path):
    """Each with its order in the directory's name and in the record."""
    grid = Grid(methods=("frozen",), seeds=(0,), orders=(None, "back"))
    scenario = replace(small_scenario(2), orders={"back": ("food", "weather")})
    records = run_study(scenario, grid, out=tmp_path, settings=QUICK, reporter=SilentReporter())

    assert [record.path.name for record in records] == [
        "frozen-seed0",
        "frozen-order=back-seed0",
    ]
    assert tuple(records[1].tasks) == ("food", "weather")


def test_values_multiply_the_methods(tmp_path):
    """Every method with every combination, as settings of its own."""
    grid = Grid(
        methods=("lora",), seeds=(0,), values={"method.rank": (2, 4), "train.lr": (0.001, 0.1)}
    )
    cells = grid_cells(small_scenario(1), grid, out=tmp_path)

    assert [(c.settings["method"]["rank"], c.settings["train"]["lr"]) for c in cells] == [
        (2, 0.001),
        (2, 0.1),
        (4, 0.001),
        (4, 0.1),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, r"is no study; its keys are scenario(.|\n)*seed: Extra inputs"),
        ({"methods": []}, "methods: List should have at least 1 item"),
        ({"seeds": ["a"]}, "seeds.0: Input should be a valid integer"),
        ({"scenario": "pydoc"}, "did you mean 'pydocs'"),
        ({"orders": ["sideways"]}, "sideways"),
    ],
)
def test_a_wrong_file_is_refused(study, tmp_path, changes, message):
    """With what is wrong, before anything runs."""

    def cells():
        asked = ask(study(**changes))
        return grid_cells(asked.scenario, asked.grid, out=tmp_path / "out")

    with pytest.raises(InputError, match=message):
        cells()
