"""Events and scores become curves of TensorBoard, Weights & Biases and MLflow."""

import time

import pytest

from continual.errors import InputError
from continual.records import ScoreRow
from continual.trackers.board import Board

EVENTS = (
    {"experience": 0, "step": 1, "loss": 1.0, "note": "words are left out"},
    {"experience": 0, "step": 2, "loss": 0.5},
    {"experience": 1, "step": 1, "loss": 0.9},
)
SCORES = [
    ScoreRow(experience=0, step=2, task="σ: news", metric="accuracy", value=0.75, n=8),
]


def feed(kind, folder):
    """A board that saw three steps of two experiences and one score."""
    folder.mkdir()
    board = Board(kind, folder, {"train.lr": "0.1"})
    for event in EVENTS[:2]:
        board.log(event)
    board.scores(SCORES)
    board.log(EVENTS[2])
    board.close()


@pytest.mark.slow
def test_tensorboard_reads_back_the_curves_over_the_whole_run(tmp_path):
    """Steps go on where the last experience ended; names have no letter a tracker refuses."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    feed("tensorboard", tmp_path / "run")
    curves = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()

    assert [(p.step, p.value) for p in curves.Scalars("loss")] == [
        (2, 1.0),
        (3, 0.5),
        (5, pytest.approx(0.9)),
    ]
    assert [(p.step, p.value) for p in curves.Scalars("accuracy/σ_ news")] == [(3, 0.75)]


@pytest.mark.slow
def test_mlflow_keeps_curves_and_settings(tmp_path, monkeypatch):
    """They go where MLFLOW_TRACKING_URI says."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)
    import mlflow

    feed("mlflow", tmp_path / "run")
    (run,) = mlflow.search_runs(experiment_names=["continual"], output_format="list")
    client = mlflow.MlflowClient(uri)

    assert run.info.run_name == "run"
    assert run.data.params == {"train.lr": "0.1"}
    assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, "loss")] == [
        (2, 1.0),
        (3, 0.5),
        (5, 0.9),
    ]


@pytest.mark.slow
def test_wandb_writes_its_file_without_a_network(tmp_path, monkeypatch):
    """Offline, the run lies in the run directory, to be sent later."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    feed("wandb", tmp_path / "run")
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    deadline = time.monotonic() + 30  # its own process writes, at times after `finish` has returned
    while b"accuracy/" not in file.read_bytes() and time.monotonic() < deadline:
        time.sleep(0.1)

    assert b"train.lr" in file.read_bytes()
    assert b"accuracy/" in file.read_bytes()


@pytest.mark.parametrize("kind", ["tensorboard", "wandb", "mlflow"])
def test_a_tracker_that_is_not_there(kind, tmp_path, monkeypatch):
    """Said before anything begins, with the command that brings it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(InputError, match=rf"tracking '{kind}' needs .*pip install {kind}"):
        Board(kind, tmp_path, {})


@pytest.mark.slow
def test_scores_within_an_experience_and_without_steps_have_places_of_their_own(tmp_path):
    """Before the first event of an experience, and where nothing learns at all."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def row(experience, step):
        return ScoreRow(
            experience=experience, step=step, task="a", metric="accuracy", value=0.5, n=8
        )

    board = Board("tensorboard", tmp_path, {})
    for moment in ((-1, 0), (0, 12), (1, 5), (1, 12), (2, 0), (3, 0)):
        board.scores([row(*moment)])
    board.close()
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    assert [p.step for p in curves.Scalars("accuracy/a")] == [0, 13, 19, 26, 27, 28]


@pytest.mark.slow
def test_without_events_nothing_is_written(tmp_path):
    """Opening a board leaves no folder behind."""
    Board("tensorboard", tmp_path / "log", {}).close()

    assert not (tmp_path / "log").exists()


@pytest.mark.slow
def test_a_run_that_continues_goes_on_at_its_step(tmp_path):
    """The events of the earlier session say where."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = Board("tensorboard", tmp_path, {})
    board.resume(EVENTS[:2])
    board.log(EVENTS[2])
    board.close()
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    assert [p.step for p in curves.Scalars("loss")] == [5]
