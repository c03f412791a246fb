"""Learning rates are chosen on the first task's validation split, and on nothing else."""

import math

import pytest

from continual import InputError
from continual.runs.progress import SilentReporter
from continual.studies import choose_rates, lowest_within, open_side
from tests.runs.faults import Notes
from tests.sequences import QUICK, small_scenario


def test_the_lowest_rate_near_the_best_is_taken():
    """Worked: within 0.1 nats of the best; with no margin, the best itself."""
    nats = {1e-3: 0.9, 3e-3: 0.45, 1e-2: 0.4, 3e-2: 0.7}

    assert lowest_within(nats) == 3e-3
    assert lowest_within(nats, 0.0) == 1e-2


@pytest.mark.parametrize(
    ("nats", "side"),
    [
        ((0.9, 0.45, 0.4, 0.7), ""),
        ((0.45, 0.4, 0.6, math.inf), "below"),
        ((5.0, 3.0, 1.3, 0.9), "above"),
        ((5.0, 3.0, 1.3, 0.05), ""),  # less than the margin is left to gain
        ((5.0, 3.0, 1.3, math.inf), ""),
    ],
)
def test_a_choice_is_open_where_a_rate_beyond_could_be_taken(nats, side):
    """Worked: the lowest was taken, or the highest was the best and not good yet."""
    assert open_side(dict(zip((1e-3, 3e-3, 1e-2, 3e-2), nats, strict=True))) == side


def test_where_all_diverge_nothing_is_chosen_and_at_an_edge_it_is_said(tmp_path):
    """Only rates that are far too high; then only one that is far too low."""
    settings = QUICK | {"train": {"batch_size": 8, "epochs": 1, "clip": None, "warmup": 0.0}}
    notes = Notes()
    more = {"settings": settings, "reporter": notes}
    with pytest.raises(InputError, match="lora diverged at every rate"):
        choose_rates(small_scenario(1), {"lora": (1e30,)}, out=tmp_path / "high", **more)
    choose_rates(small_scenario(1), {"lora": (1e-9,)}, out=tmp_path / "low", **more)

    assert "warning: 1e-09, chosen for lora, is at the edge of what was tried" in notes.said[-1]


def test_rates_beyond_are_tried_while_the_choice_is_at_the_edge(tmp_path, monkeypatch):
    """Worked: above while it gets better by much, below while the lowest is chosen."""
    nats = {"lora": {1e-3: 3.0, 3e-3: 2.0, 1e-2: 0.4, 3e-2: 0.5}, "nlora": {1e-4: 0.9, 3e-3: 0.5}}
    asked = []

    def answers(cells, where, reporter):
        asked.append([(cell.method, cell.settings["train"]["lr"]) for cell in cells])
        return cells

    monkeypatch.setattr("continual.studies.choose.run_cells", answers)
    monkeypatch.setattr(
        "continual.studies.choose._loss",
        lambda cell: nats[cell.method].get(cell.settings["train"]["lr"], 0.3),
    )
    chosen = choose_rates(
        small_scenario(1),
        {"lora": (1e-3, 3e-3), "nlora": (1e-3, 3e-3)},
        beyond=(3e-2, 1e-2, 3e-4, 1e-4),
        out=tmp_path,
        reporter=SilentReporter(),
    )

    assert chosen == {"lora": 1e-2, "nlora": 3e-4}
    assert asked[0] == [("lora", 1e-3), ("lora", 3e-3), ("nlora", 1e-3), ("nlora", 3e-3)]
    assert asked[1:] == [[("lora", 1e-2), ("nlora", 3e-4)], [("lora", 3e-2), ("nlora", 1e-4)]]


def test_a_rate_that_learns_is_chosen_and_one_that_diverges_is_not(tmp_path):
    """A rate so small that nothing moves, a fair one, and one whose loss is not finite."""
    settings = QUICK | {"train": {"batch_size": 8, "epochs": 3, "clip": None, "warmup": 0.0}}
    rates = {"lora": (1e-9, 1e-2, 1e30)}
    chosen = choose_rates(
        small_scenario(2), rates, out=tmp_path, settings=settings, reporter=SilentReporter()
    )

    assert chosen == {"lora": 1e-2}
    assert sorted(path.parent.name for path in tmp_path.glob("*/run.yaml")) == [
        f"lora-train.lr={rate}-seed0" for rate in ("0.01", "1e+30", "1e-09")
    ]
