"""Results are computed once, shared by processes, bounded in size and never trusted blindly."""

import os
import subprocess
import sys
import time
from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import aslinearoperator

from continual.errors import InputError
from continual.linalg import Cache, content_hash, cur, interpolative, pivoted_qr, select, svd
from continual.linalg.cache import key_of

MATRIX = np.random.default_rng(0).normal(size=(9, 7))


@pytest.mark.parametrize("function", [svd, cur, interpolative, pivoted_qr])
def test_what_is_read_equals_what_was_computed(tmp_path, function, monkeypatch):
    """Every field, bit for bit; the second call computes nothing."""
    cache = Cache(tmp_path)
    first = cache.call(function, MATRIX, rank=3)
    monkeypatch.setattr("scipy.linalg.svd", None)
    monkeypatch.setattr("scipy.linalg.qr", None)

    again = cache.call(function, MATRIX, rank=3)

    assert type(again) is type(first)
    for field in fields(first):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(first, field.name))
    assert len(list(tmp_path.iterdir())) == 1


def test_the_key_is_content_not_container():
    """Layout and container do not matter; numbers, dtype, shape and arguments do."""
    same = [MATRIX, np.asfortranarray(MATRIX), torch.tensor(MATRIX), MATRIX.tolist()]
    other = [MATRIX.T, MATRIX + 1e-16, MATRIX.astype(np.float32), sparse.csr_array(MATRIX)]

    assert len({content_hash(matrix) for matrix in same}) == 1
    hashes = {content_hash(matrix) for matrix in (MATRIX, MATRIX * 2, *other[2:], other[0])}
    assert len(hashes) == 5
    assert key_of(svd, MATRIX, {"rank": 2}) != key_of(svd, MATRIX, {"rank": 3})
    assert key_of(svd, MATRIX, {}) != key_of(cur, MATRIX, {})
    same_call = {"rank": np.int64(2), "seed": 0, "diagnose": True}
    assert key_of(svd, MATRIX, {"rank": 2}) == key_of(svd, MATRIX, same_call)


def test_the_folder_stays_within_its_bound(tmp_path):
    """What was used longest ago goes first; what was just written stays."""
    big = Cache(tmp_path)
    for seed in range(4):
        big.call(cur, MATRIX, rank=3, seed=seed)
    paths = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    for age, path in enumerate(paths):
        os.utime(path, (1000 + age, 1000 + age))
    os.utime(paths[0])  # just used
    size = paths[0].stat().st_size

    Cache(tmp_path, limit=3 * size + 100).call(cur, MATRIX, rank=3, seed=9)

    assert paths[0].exists()
    assert not paths[1].exists()
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "text"])
def test_a_damaged_file_is_reported_and_computed_again(tmp_path, damage):
    """And replaced by a good one."""
    cache = Cache(tmp_path)
    first = cache.call(svd, MATRIX, rank=3)
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    contents = {
        "truncated": bytes(data[:-20]),
        "flipped": bytes(data),
        "empty": b"",
        "text": b"hello",
    }
    path.write_bytes(contents[damage])

    with pytest.warns(UserWarning, match="damaged"):
        again = cache.call(svd, MATRIX, rank=3)

    np.testing.assert_array_equal(again.U, first.U)
    np.testing.assert_array_equal(cache.call(svd, MATRIX, rank=3).U, first.U)


def test_a_folder_that_cannot_be_written_costs_no_result(tmp_path):
    """It is reported."""
    (tmp_path / "file").write_text("in the way")

    with pytest.warns(UserWarning, match="could not be kept"):
        found = Cache(tmp_path / "file").call(svd, MATRIX, rank=3)

    np.testing.assert_array_equal(found.U, svd(MATRIX, 3).U)


def test_drafts_of_processes_that_died_are_swept(tmp_path):
    """After an hour; a young one may belong to somebody."""
    for name, age in (("old.new", 5000), ("young.new", 5)):
        (tmp_path / name).write_text("half")
        then = time.time() - age
        os.utime(tmp_path / name, (then, then))

    Cache(tmp_path).call(svd, MATRIX, rank=1)

    assert {path.name for path in tmp_path.glob("*.new")} == {"young.new"}


def test_processes_share_a_folder(tmp_path):
    """Several at once leave one good file and no drafts."""
    code = (
        "import sys, numpy as np; from pathlib import Path; from continual.linalg import *\n"
        "A = np.random.default_rng(0).normal(size=(9, 7))\n"
        "print(repr(Cache(Path(sys.argv[1])).call(cur, A, rank=3).error_fro))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    printed = {process.communicate(timeout=120)[0].decode() for process in processes}

    assert len(printed) == 1
    assert [process.returncode for process in processes] == [0, 0, 0]
    (file,) = tmp_path.iterdir()
    assert file.suffix == ".safetensors"


def test_what_cannot_be_kept_is_refused(tmp_path):
    """An operator has no content, a limit of nothing no use."""
    with pytest.raises(InputError, match="no content to hash"):
        Cache(tmp_path).call(svd, aslinearoperator(MATRIX), rank=1)
    with pytest.raises(InputError, match="returns a frozen dataclass"):
        Cache(tmp_path).call(select, MATRIX, k=1, axis=0)
    with pytest.raises(InputError, match="at least 1 byte"):
        Cache(tmp_path, limit=0)


def test_the_default_folder_follows_the_users_wish(monkeypatch, tmp_path):
    """XDG_CACHE_HOME."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert Cache().folder == tmp_path / "continual" / "linalg"
