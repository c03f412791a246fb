"""What two processes learn together, and what each of them does of a step."""

from itertools import chain

import numpy as np
import pytest
from safetensors.numpy import load_file

from continual.backbone.base import Encoded
from continual.backbone.passes import Share, by_length
from continual.processes import Processes
from continual.records import RunRecord
from continual.training.lesson import Lesson, Portion
from continual.training.parallel import passes
from tests.processes.cases import CASES, SHARDABLE, make
from tests.processes.launching import launch
from tests.sequences import small_scenario

LOOSE = {"prilora": 1e-5}  # its average of input sizes counts padding, which shares do not share


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every case, made by two processes and by one."""
    folder = tmp_path_factory.mktemp("equal")
    made = launch("torchrun", "tests.processes.cases", "two", "sharded", cwd=folder)
    assert made.returncode == 0, made.stderr[-3000:]
    for name in CASES:
        make(name, folder / "one" / name, {})
    return folder


def scores(record: RunRecord) -> dict[tuple, float]:
    return {(r.experience, r.step, r.task, r.metric): r.value for r in record.score_rows}


def tensors(record: RunRecord) -> dict[str, np.ndarray]:
    """Return what the last adapter directory of a run holds."""
    found = {}
    for path in sorted((record.path / "adapters" / "after-01").glob("*.safetensors")):
        found |= {f"{path.name} {key}": tensor for key, tensor in load_file(path).items()}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CASES, *(f"sharded-{name}" for name in SHARDABLE)])
def test_two_processes_learn_what_one_does(folders, name):
    """R is the same, and so, up to rounding, are losses on test splits, drift and adapters."""
    case = name.removeprefix("sharded-")
    one = RunRecord.open(folders / "one" / case)
    two = RunRecord.open(folders / "two" / name)
    found, wanted = scores(two), scores(one)

    assert two.complete
    np.testing.assert_allclose(two.matrix(), one.matrix(), rtol=0, atol=1e-6)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        assert found[key] == pytest.approx(value, rel=LOOSE.get(name, 2e-6), abs=1e-6), key
    assert [row.id for row in two.examples()] == [row.id for row in one.examples()]
    for key, tensor in tensors(one).items():
        np.testing.assert_allclose(tensors(two)[key], tensor, rtol=0, atol=1e-3)


@pytest.mark.slow
def test_the_first_evaluation_is_the_same_to_the_last_bit(folders):
    """Shares are whole batches of one process, so before training nothing differs at all."""
    for name in ("nlora", "sharded-nlora"):
        one, two = (RunRecord.open(folders / k / n) for k, n in (("one", "nlora"), ("two", name)))
        first = [[r for r in record.examples() if r.experience < 0] for record in (one, two)]

        assert first[0] == first[1]
        assert [r for r in one.score_rows if r.experience < 0] == [
            r for r in two.score_rows if r.experience < 0
        ]


class Nothing(Encoded):
    """Examples that nobody looks at."""

    def batch(self, indices):
        raise AssertionError("nobody looks")


def lesson(k: int) -> Lesson:
    task = small_scenario(1)[0].task
    return Lesson(index=k, task=task, encoded=Nothing(), candidates=None, current_only=False)


@pytest.mark.parametrize("sizes", [[7], [1], [4, 1, 1], [3, 2, 2], [0, 5]])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("in_step", [False, True])
def test_every_example_of_a_step_counts_once(sizes, count, in_step):
    """Shares differ by one example at most; in step, all make equally many passes per lesson."""
    portions = [
        Portion(lesson=lesson(k), chosen=np.arange(n) + 10 * k) for k, n in enumerate(sizes)
    ]
    shares = [
        list(passes(portions, 2, Processes(rank=rank, count=count), in_step))
        for rank in range(count)
    ]
    counted = [[int(e) for p, real in share for e in p.chosen if real] for share in shares]
    lessons = [[p.lesson.index for p, _ in share] for share in shares]

    assert sorted(chain(*counted)) == [e for p in portions for e in p.chosen.tolist()]
    assert max(map(len, counted)) - min(map(len, counted)) <= 1
    assert all(len(p.chosen) <= 2 for share in shares for p, _ in share)
    assert not in_step or all(one == lessons[0] for one in lessons)


@pytest.mark.parametrize(("items", "size"), [(17, 4), (16, 4), (3, 4), (0, 4), (9, 1)])
@pytest.mark.parametrize("in_step", [False, True])
def test_shares_of_an_evaluation_are_the_batches_of_the_whole(items, size, in_step):
    """Together they are all of them; in step, everybody makes batches of the same sizes."""
    lengths = np.arange(items) % 5
    whole = {tuple(batch) for batch in by_length(lengths, size)}
    shares = [
        [tuple(batch) for batch in by_length(lengths, size, Share(rank, 3, in_step))]
        for rank in range(3)
    ]

    assert set(chain(*shares)) == whole
    if in_step:
        assert len({tuple(map(len, share)) for share in shares}) == 1
    else:
        assert sum(map(len, shares)) == len(whole)
