"""Checkpoints are whole or not there."""

import pytest
import torch

from continual.training.checkpoint import (
    Checkpoint,
    DamagedRunError,
    Position,
    load_checkpoint,
    save_checkpoint,
)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        position=Position(experience=1, step=step, phase="training"),
        tensors={"state|a": torch.full((3, 2), float(step)), "state|n": torch.tensor(step)},
        facts={"early_stop": {"best": 0.1 + 0.2, "waited": 1}},
    )


def test_what_is_saved_is_loaded(tmp_path):
    """Position, tensors and facts come back bit for bit."""
    save_checkpoint(tmp_path, checkpoint(5))
    found, complaints = load_checkpoint(tmp_path)

    assert complaints == []
    assert found.position == checkpoint(5).position
    assert found.facts == checkpoint(5).facts
    assert all(torch.equal(found.tensors[n], t) for n, t in checkpoint(5).tensors.items())


def test_a_run_without_checkpoints_begins_anew(tmp_path):
    """No folder and an empty folder both mean: nothing yet."""
    assert load_checkpoint(tmp_path / "none") == (None, [])
    assert load_checkpoint(tmp_path) == (None, [])


def test_the_newest_two_are_kept(tmp_path):
    """Old checkpoints go, and numbering goes on."""
    for step in range(5):
        save_checkpoint(tmp_path, checkpoint(step))

    assert sorted(path.name for path in tmp_path.iterdir()) == ["000003", "000004"]


@pytest.mark.parametrize("name", ["state.safetensors", "state.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path, name, damage):
    """Damage is reported by name, and the older state is used."""
    save_checkpoint(tmp_path, checkpoint(1))
    path = save_checkpoint(tmp_path, checkpoint(2)) / name
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)
    else:
        path.unlink()
    found, complaints = load_checkpoint(tmp_path)

    assert found.position.step == 1
    assert len(complaints) == 1
    assert "000001 is damaged" in complaints[0]


def test_with_every_checkpoint_damaged_the_message_says_what_to_do(tmp_path):
    """Nothing is silently begun anew."""
    path = save_checkpoint(tmp_path, checkpoint(1))
    (path / "state.safetensors").write_bytes(b"")
    with pytest.raises(DamagedRunError, match=r"none of the 1 checkpoints .* backup"):
        load_checkpoint(tmp_path)


def test_a_half_written_checkpoint_is_not_one(tmp_path):
    """A draft that a kill left behind is neither read nor in the way."""
    save_checkpoint(tmp_path, checkpoint(1))
    draft = tmp_path / ".writing-000001"
    draft.mkdir()
    (draft / "state.safetensors").write_bytes(b"half")
    save_checkpoint(tmp_path, checkpoint(2))
    found, complaints = load_checkpoint(tmp_path)

    assert (found.position.step, complaints) == (2, [])
    assert not draft.exists()


def test_a_pickle_is_not_a_checkpoint(tmp_path):
    """A file that would run code when unpickled is refused as damaged, and runs nothing."""
    import pickle

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    save_checkpoint(tmp_path / "c", checkpoint(1))
    (tmp_path / "c" / "000000" / "state.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DamagedRunError):
        load_checkpoint(tmp_path / "c")
    assert not (tmp_path / "exploded").exists()
