"""Pictures of many sizes: decoded one at a time, and shared by the tasks of a split."""

import weakref

import numpy as np
import pytest

from continual.errors import InputError
from continual.scenario import FileSource, Task, loading, split, split_by_class
from continual.scenario import images as images_module

LABELS = ("ant", "bee", "cat", "dog")


def make_pictures(root, count=6, labels=LABELS):
    """Write folders of RGB PNGs of different sizes, one folder per label."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for k, label in enumerate(labels):
        (root / label).mkdir(parents=True)
        for i in range(count):
            shape = (int(rng.integers(20, 60)), int(rng.integers(20, 60)), 3)
            pixels = rng.integers(0, 120, shape).astype(np.uint8)
            pixels[: shape[0] // (k + 1)] += 100
            Image.fromarray(pixels).save(root / label / f"{i}.png")
    return root


def task_of(root) -> Task:
    source = FileSource(file=str(make_pictures(root)))
    return Task(name="pets", kind="image-classification", train=source, test=source, labels=LABELS)


@pytest.fixture
def alive(monkeypatch):
    """The decoded pictures that were alive at once, one number per decoding."""
    counts, known = [], weakref.WeakSet()

    class Picture(np.ndarray):
        """An array that can be told from others."""

        __hash__ = object.__hash__
        __eq__ = object.__eq__

    def counted(value):
        picture = images_module.to_array(value).view(Picture)
        known.add(picture)
        counts.append(len(known))
        return picture

    monkeypatch.setattr(split, "to_array", counted)
    return counts


def test_only_one_decoded_picture_is_held(tmp_path, alive):
    """Loading holds none; iterating holds the one in hand and the one that is made."""
    data = task_of(tmp_path / "pets").load()
    held = alive[-1:]  # by the type checks of the tests, which look at an item of a sequence
    sizes = {example.image.shape for example in data.test}

    assert held in ([], [1])
    assert len(alive) >= 24
    assert max(alive) <= 2
    assert len(sizes) > 12


def test_what_is_no_picture_is_found_when_loading(tmp_path):
    """A file that does not begin as an image does is named before anything is trained."""
    task = task_of(tmp_path / "pets")
    (tmp_path / "pets" / "ant" / "0.png").write_bytes(b"no picture")

    with pytest.raises(InputError, match=r"cannot decode an image of .*0\.png"):
        task.load()


def test_the_tasks_of_a_split_read_their_data_once(tmp_path, monkeypatch):
    """One scan per source, however many tasks; each still has its own classes."""
    parts = split_by_class(task_of(tmp_path / "pets"), 4)
    scans, scan = [], loading.scan

    def counted(task, part, dataset):
        scans.append((task.name, part))
        return scan(task, part, dataset)

    monkeypatch.setattr(loading, "scan", counted)
    found = [set(part.load().test.column("label")) for part in parts]

    assert found == [{0}, {1}, {2}, {3}]
    assert scans == [("pets-1", "train"), ("pets-1", "test")]


def test_shares_cut_data_in_two(tmp_path):
    """Disjoint, together everything, the same in any order of the rows, every class in both."""
    rows = [f"row {i},{'ab'[i > 2]}" for i in range(403)]  # a has three rows
    (tmp_path / "a.csv").write_text("text,label\n" + "\n".join(rows) + "\n")
    (tmp_path / "b.csv").write_text("text,label\n" + "\n".join(reversed(rows)) + "\n")

    def cut(name):
        task = Task(
            name="t",
            kind="text-classification",
            train=FileSource(file=str(tmp_path / name), share=(0.0, 0.8)),
            test=FileSource(file=str(tmp_path / name), share=(0.8, 1.0)),
            labels=("a", "b"),
            validation_fraction=0.0,
        )
        data = task.load()
        assert data.train.column("label").count(0) == 2
        return set(data.train.column("text")), set(data.test.column("text"))

    train, test = cut("a.csv")

    assert train.isdisjoint(test)
    assert len(train | test) == 403
    assert len(test) == 1 + 80
    assert cut("b.csv") == (train, test)


@pytest.mark.parametrize("share", [(0.8, 0.2), (0.0, 1.5), (0.5, 0.5)])
def test_a_share_is_two_rising_numbers(share):
    """Anything else is refused when the source is made."""
    with pytest.raises(InputError, match="two rising numbers from 0 to 1"):
        FileSource(file="a.csv", share=share)
