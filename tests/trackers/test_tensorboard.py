"""Events become TensorBoard curves."""

from continual.trackers.tensorboard import TensorboardLog


def test_numbers_of_an_event_are_written_and_read_back(tmp_path):
    """One curve per experience and name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TensorboardLog(tmp_path)
    for step in (1, 2):
        log.log({"experience": 0, "step": step, "loss": 1.0 / step, "note": "words are left out"})
    log.close()
    curves = EventAccumulator(str(tmp_path)).Reload()

    assert curves.Tags()["scalars"] == ["experience-00/loss"]
    assert [(p.step, p.value) for p in curves.Scalars("experience-00/loss")] == [(1, 1.0), (2, 0.5)]


def test_without_events_nothing_is_written(tmp_path):
    """Opening a log leaves no folder behind."""
    TensorboardLog(tmp_path / "log").close()

    assert not (tmp_path / "log").exists()
