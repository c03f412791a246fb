"""Checkpoints are decomposed layer by layer, never loaded whole."""

import re
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from threadpoolctl import threadpool_info

from continual.errors import InputError
from continual.linalg import Cache, cur, held, layers_of, optimal_error, survey, svd
from continual.linalg.survey import seed_of_layer


@pytest.fixture
def checkpoint(tmp_path):
    """Two shards with matrices of three dtypes, a vector, a stack and integers."""
    random = torch.Generator().manual_seed(0)

    def draw(*shape, dtype=torch.float32):
        return torch.randn(*shape, generator=random).to(dtype)

    save_file(
        {"b.weight": draw(12, 8), "b.bias": draw(12), "c.weight": draw(6, 9, dtype=torch.bfloat16)},
        tmp_path / "model-00001-of-00002.safetensors",
    )
    save_file(
        {
            "a.weight": draw(10, 10, dtype=torch.float16),
            "stack": draw(2, 3, 4),
            "ids": torch.arange(12).reshape(3, 4),
            "row": draw(1, 5),
        },
        tmp_path / "model-00002-of-00002.safetensors",
    )
    return tmp_path


def test_the_matrices_of_all_shards_are_found_by_name(checkpoint):
    """Only floating-point ones of two rows and columns or more."""
    assert [layer.name for layer in layers_of(checkpoint)] == ["a.weight", "b.weight", "c.weight"]
    assert [layer.shape for layer in layers_of(checkpoint, "^[bc]")] == [(12, 8), (6, 9)]
    assert layers_of(checkpoint, "c")[0].operand().dtype == np.float32


@pytest.mark.parametrize("kind", ["cur", "svd"])
def test_a_layer_is_decomposed_as_it_would_be_alone(checkpoint, kind):
    """Same factors, exact errors and optimum, whatever the number of workers."""
    layers = layers_of(checkpoint)
    one = survey(layers, kind=kind, rank=3, seed=5, workers=1)
    many = survey(layers, kind=kind, rank=3, seed=5, workers=3)

    for layer, alone, among in zip(layers, one, many, strict=True):
        matrix = layer.operand().dense()
        seed = seed_of_layer(5, layer.name)
        direct = cur(matrix, 3, seed=seed) if kind == "cur" else svd(matrix, 3, seed=seed)

        assert alone.layer == among.layer == layer.name
        assert alone.error_fro == among.error_fro == direct.error_fro
        assert alone.optimal_error_fro == pytest.approx(optimal_error(matrix, 3))
        assert alone.error_fro >= alone.optimal_error_fro * (1 - 1e-6)
        for name, factor in alone.factors.items():
            np.testing.assert_array_equal(factor, getattr(direct, name))


def test_matrices_in_memory_are_layers_too(checkpoint):
    """With the same seeds, so with the same factors."""
    layers = layers_of(checkpoint)
    weights = {layer.name: torch.tensor(layer.operand().dense()) for layer in layers}

    on_disk, in_memory = (survey(some, kind="cur", rank=3) for some in (layers, held(weights)))

    for one, other in zip(on_disk, in_memory, strict=True):
        assert one.facts() | {"seconds": 0} == other.facts() | {"seconds": 0}
    with pytest.raises(InputError, match="bias must have two dimensions"):
        held({"bias": torch.zeros(3)})


def test_workers_have_one_blas_thread_each(checkpoint):
    """And everyone has theirs back afterwards."""
    before = [pool["num_threads"] for pool in threadpool_info()]
    seen = []

    def done(_):
        seen.append({p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"})

    survey(layers_of(checkpoint), kind="svd", rank=2, workers=2, done=done)

    assert seen == [{1}] * 3
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_surveys_at_once_leave_the_thread_limit_as_it_was(checkpoint):
    """They take turns, since the limit belongs to the process."""
    before = [pool["num_threads"] for pool in threadpool_info()]
    seen: list[set[int]] = []

    def done(_):
        seen.append({p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"})

    layers = layers_of(checkpoint)
    threads = [
        threading.Thread(
            target=survey, args=(layers,), kwargs={"kind": "svd", "rank": 2, "done": done}
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert seen == [{1}] * 9
    assert [pool["num_threads"] for pool in threadpool_info()] == before


def test_a_layer_of_zeros_is_a_layer():
    """Also a large one, for which Lanczos has no answer."""
    (found,) = survey(held({"zero": np.zeros((600, 560))}), kind="cur", rank=3)

    assert found.error_fro == found.optimal_error_fro == found.stable_rank == 0.0


def test_a_cache_gives_the_same_answer(checkpoint, tmp_path):
    """Computed once."""
    layers, cache = layers_of(checkpoint), Cache(tmp_path / "cache")
    first, again = (survey(layers, kind="cur", rank=2, cache=cache) for _ in range(2))

    assert [one.facts() for one in first] == [one.facts() for one in again]


LARGE = """
import resource, sys
from pathlib import Path
from continual.linalg import layers_of, survey
layers = layers_of(Path(sys.argv[1]))
kind = sys.argv[2]
survey(layers[:1], kind=kind, rank=4, workers=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
survey(layers, kind=kind, rank=4, workers=1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cur", "svd"])
def test_a_checkpoint_is_never_in_memory_as_a_whole(tmp_path, kind):
    """Forty layers of 4 MiB grow the process by less than a quarter of the file."""
    random = torch.Generator().manual_seed(0)
    tensors = {f"{i:02d}": torch.randn(256, 4096, generator=random) for i in range(40)}
    save_file(tensors, tmp_path / "model.safetensors")

    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path), kind],
        capture_output=True,
        text=True,
        check=True,
    )

    assert int(done.stdout) < 40 * 1024  # KiB; the file has 160 MiB


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "qr", "rank": 2}, "unknown kind of decomposition 'qr'"),
        ({"kind": "cur", "rank": 7}, r"fit every layer; 'c.weight' is \(6, 9\); got 7"),
        ({"kind": "cur", "rank": 0}, "at least 1"),
        ({"kind": "cur", "rank": 2, "policy": "lupp"}, "sketch_lupp"),
        ({"kind": "svd", "rank": 2, "method": "lapack"}, "unknown SVD method"),
        ({"kind": "cur", "rank": 2, "seed": -1}, "seed must be at least 0"),
        ({"kind": "cur", "rank": 2, "workers": 0}, "at least 1; got 0"),
    ],
)
def test_unusable_requests_are_refused_before_any_work(checkpoint, options, message):
    """With what was given and what is allowed."""
    done = []
    with pytest.raises(InputError, match=message):
        survey(layers_of(checkpoint), done=done.append, **options)

    assert not done
    with pytest.raises(InputError, match="no layer"):
        survey([], kind="cur", rank=1)


@pytest.mark.parametrize(
    ("path", "pattern", "message"),
    [
        ("nowhere", "", "neither a safetensors file nor a folder"),
        (".", "attention", "no matrix whose name matches 'attention'; it has 3, such as a.weight"),
        (".", "(", "takes a regular expression"),
    ],
)
def test_what_cannot_be_read_is_told(checkpoint, path, pattern, message):
    """With what is there."""
    with pytest.raises(InputError, match=re.escape(message)):
        layers_of(checkpoint / path, pattern)


def test_a_damaged_file_is_told(tmp_path):
    """By its path."""
    (tmp_path / "model.safetensors").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        layers_of(tmp_path / "model.safetensors")
