"""Whole runs: what they leave behind, and that they can be interrupted anywhere."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file

from continual.adapters import METHODS
from continual.errors import InputError
from continual.records import RunRecord, sha256_of
from continual.records.directory import differences
from continual.runs.assemble import run
from continual.runs.progress import SilentReporter
from continual.scenario import Limit, load_scenario
from continual.training.non_finite import NonFiniteLossError
from tests.adapters.models import each
from tests.sequences import QUICK, rows, small_scenario

WITH_HEADS = ("head-only", "loko")  # nothing learns, or can be measured, without them
LM_METHODS = [name for name in METHODS if name not in WITH_HEADS]


class CrashError(Exception):
    """What a test throws to end a run as a kill would: nothing is tidied up."""


class CrashAt(SilentReporter):
    """Ends a run at the n-th thing that it reports."""

    def __init__(self, n: int) -> None:
        self.left = n

    def step(self, what: str, done: int, total: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise CrashError(what)


def content(folder) -> dict[str, str]:
    """Return the checksum of everything that must not depend on an interruption."""
    keep = ("scores.parquet", "examples.parquet", "run.yaml")
    return {
        str(path.relative_to(folder)): sha256_of(path)
        for path in sorted(folder.rglob("*"))
        if path.name in keep or (path.suffix == ".safetensors" and "adapters" in path.parts)
    }


@pytest.mark.parametrize("method", each(LM_METHODS))
def test_every_method_runs_end_to_end(tmp_path, method):
    """A run is complete, R is full and in [0, 1], and only frozen leaves the model as it was."""
    record = run(small_scenario(2), method, out=tmp_path / "r", settings=QUICK)
    matrix = record.matrix()

    assert record.complete
    rows = matrix[-1:] if method == "joint" else matrix
    assert matrix.shape == (2, 2)
    assert ((rows >= 0) & (rows <= 1)).all()
    assert np.isfinite(record.baseline()).all()
    assert (record.majority() == 0.5).all()
    assert len(record.examples()) == (1 + len(rows)) * 2 * 8
    if method == "per-task":
        assert (matrix[:, 0] == matrix[0, 0]).all()  # later tasks do not touch it
    nats = {
        row.experience: row.value for row in record.score_rows if row.metric == "nats_per_token"
    }
    assert (nats[-1] == nats[1]) == (method == "frozen")


def test_training_learns_and_the_loss_falls(tmp_path):
    """After two epochs the first task is learned, and the events say how."""
    settings = QUICK | {"train": {"batch_size": 8, "epochs": 6, "log_steps": 1, "lr": 0.01}}
    record = run(small_scenario(1), "lora", out=tmp_path / "r", settings=settings)
    losses = [event["loss"] for event in record.events() if "loss" in event]

    assert record.matrix()[0, 0] == 1.0
    assert losses[-1] < 0.5 * losses[0]


SLOW = pytest.mark.slow
EWC = {"lam": 5.0, "samples": 4}


@pytest.mark.parametrize(
    ("method", "extra", "beside"),
    [
        pytest.param("curlora", {}, {}, marks=SLOW),
        ("nlora", {"micro_batch_size": 3}, {}),
        ("slora", {}, {"lwf": {"lam": 1.0}}),
        pytest.param("inclora", {"early_stop": 1, "epochs": 2}, {}, marks=SLOW),
        pytest.param("full", {"schedule": "linear"}, {}, marks=SLOW),
        pytest.param("joint", {}, {}, marks=SLOW),
        pytest.param("per-task", {}, {}, marks=SLOW),
        pytest.param("cola", {"epochs": 2}, {"method": {"every": 4}}, marks=SLOW),
        pytest.param(
            "slora", {}, {"rehearsal": {"size": 10, "policy": "class-balanced"}}, marks=SLOW
        ),
        ("nlora", {}, {"method": {"sampling": 0.3}, "rehearsal": {"size": 10}}),
        pytest.param(
            "lora", {"micro_batch_size": 3}, {"ewc": {**EWC, "labels": "model"}}, marks=SLOW
        ),
        pytest.param("olora", {}, {"ewc": {**EWC, "fisher": "weights", "decay": 0.9}}, marks=SLOW),
        pytest.param(
            "glora",
            {},
            {"method": {"supernet": True, "population": 2, "generations": 1}},
            marks=SLOW,
        ),
        pytest.param("loko", {}, {"backbone": {"heads": True}}, marks=SLOW),
    ],
)
def test_an_interrupted_run_equals_an_uninterrupted_one(tmp_path, method, extra, beside):
    """Ended at many places and continued each time, it leaves the same bytes."""
    settings = {**QUICK, "train": {**QUICK["train"], **extra}, **beside}
    scenario = small_scenario(2)
    run(scenario, method, out=tmp_path / "whole", settings=settings)
    torn = tmp_path / "torn"
    crashes = 0
    for n in (5, 9, 8, 10, 9, 11, 12, 13, 14, 15):
        try:
            run(scenario, method, out=torn, settings=settings, reporter=CrashAt(n))
            break
        except CrashError:
            crashes += 1
    run(scenario, method, out=torn, settings=settings)

    assert crashes >= 3
    assert content(torn) == content(tmp_path / "whole")


def test_a_finished_run_is_not_run_again(tmp_path):
    """The same call returns what is there and touches nothing."""
    run(small_scenario(1), "lora", out=tmp_path / "r", settings=QUICK)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")}
    record = run(small_scenario(1), "lora", out=tmp_path / "r", settings=QUICK, reporter=CrashAt(0))

    assert record.complete
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*")} == before


@pytest.mark.parametrize("method", ["curlora", "full", "frozen"])
def test_an_optimiser_of_pairs_refuses_a_method_without_pairs(tmp_path, method):
    """It says what is missing and what to do, and writes nothing."""
    settings = QUICK | {"train": {"optimiser": "lora-rite"}}
    with pytest.raises(
        InputError, match=rf"'lora-rite' updates .* {method!r} trains none .*'lora'"
    ):
        run(small_scenario(1), method, out=tmp_path / "r", settings=settings)

    assert not (tmp_path / "r").exists()


def test_another_configuration_is_refused_with_a_diff(tmp_path):
    """The message shows what differs; the run stays as it is."""
    run(small_scenario(1), "lora", out=tmp_path / "r", settings=QUICK)
    with pytest.raises(InputError, match=r"method_options\.rank: 8 \(there\) -> 4 \(given\)"):
        run(
            small_scenario(1),
            "lora",
            out=tmp_path / "r",
            settings=QUICK | {"method": {"rank": 4}},
        )


def test_other_data_under_an_unfinished_run_is_refused(tmp_path):
    """A run does not go on with data it did not begin with."""
    with pytest.raises(CrashError):
        run(small_scenario(2), "lora", out=tmp_path / "r", settings=QUICK, reporter=CrashAt(9))
    with pytest.raises(InputError, match=r"changed since the run began:\n  data\.food"):
        run(small_scenario(2, train=22), "lora", out=tmp_path / "r", settings=QUICK)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_place(tmp_path):
    """The message has task, step and batch; the last checkpoint is whole."""
    wild = QUICK | {"train": {"batch_size": 8, "lr": 1e30, "clip": None, "warmup": 0}}
    with pytest.raises(NonFiniteLossError, match=r"task 'weather' .*at step \d+.*batch has 8"):
        run(small_scenario(2), "lora", out=tmp_path / "r", settings=wild)

    assert RunRecord.open(tmp_path / "r").baseline().shape == (2,)
    assert list((tmp_path / "r" / "checkpoints").glob("0*"))


def test_input_that_cannot_be_used_leaves_nothing_behind(tmp_path):
    """Every mistake is found before the directory is made."""
    for settings, method, backbone in (
        ({"method": {"rank": 100000}}, "curlora", None),
        ({"method": {"targets": ["query"]}}, "lora", None),
        ({}, "head-only", None),
        ({}, "lora", "tiny-vit"),
        ({}, "lora", str(tmp_path / "no-model")),
        ({"backbone": {"max_length": 8}}, "lora", None),
    ):
        with pytest.raises(InputError):
            run(
                small_scenario(1),
                method,
                backbone=backbone,
                out=tmp_path / "r",
                settings=settings,
            )
    assert not (tmp_path / "r").exists()


def test_a_foreign_directory_is_not_written_into(tmp_path):
    """A folder with other files is refused and stays as it is."""
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is not empty and is no run directory"):
        run(small_scenario(1), "lora", out=tmp_path, settings=QUICK)

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_seeds_change_a_run_and_repeat_it(tmp_path):
    """The same seed gives the same bytes; another seed does not."""
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(small_scenario(1), "lora", out=tmp_path / name, settings=QUICK, seed=seed)
    model = "adapters/after-00/adapter_model.safetensors"

    assert sha256_of(tmp_path / "a" / model) == sha256_of(tmp_path / "b" / model)
    assert sha256_of(tmp_path / "a" / model) != sha256_of(tmp_path / "c" / model)


def test_gradient_accumulation_changes_rounding_only(tmp_path):
    """Micro-batches of 3 within batches of 8 train what whole batches train."""
    run(small_scenario(1), "nlora", out=tmp_path / "a", settings=QUICK)
    parts = QUICK | {"train": {**QUICK["train"], "micro_batch_size": 3}}
    run(small_scenario(1), "nlora", out=tmp_path / "b", settings=parts)
    one, other = (
        load_file(tmp_path / name / "adapters/after-00/adapter_model.safetensors") for name in "ab"
    )

    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=2e-3)


def test_untrained_heads_are_those_of_the_seed(tmp_path):
    """The baseline is what the frozen control goes on to say, with any seed."""
    settings = QUICK | {"backbone": {"heads": True}}
    records = [
        run(small_scenario(2), "frozen", seed=seed, out=tmp_path / str(seed), settings=settings)
        for seed in (1, 2)
    ]
    said = [[row.prediction for row in r.examples() if row.experience < 0] for r in records]

    for record in records:
        assert (record.matrix() == record.baseline()).all()
    assert said[0] != said[1]


def test_the_frozen_control_forgets_nothing_and_drifts_nowhere(tmp_path):
    """Its rows of R are the baseline, and its perplexity drift is exactly zero."""
    from continual.scenario import Probe, RowsSource

    probe = Probe(name="text", source=RowsSource(rows=[{"text": "a word in time " * 20}]))
    scenario = small_scenario(2, probes=(probe,))
    record = run(scenario, "frozen", out=tmp_path / "r", settings=QUICK)

    assert (record.matrix() == record.baseline()).all()
    assert len(set(record.probes()["text"])) == 1


def test_differences_name_every_path():
    """Added, removed and changed keys are all there."""
    old, new = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": 4}

    assert differences(old, new) == [
        "a.c: 2 (there) -> 5 (given)",
        "d: 3 (there) -> None (given)",
        "e: None (there) -> 4 (given)",
    ]


def test_rows_are_distinct():
    """The sequences of these tests have no duplicates between training and test."""
    texts = [row["text"] for row in rows("food", 24, 0) + rows("food", 8, 1000)]

    assert len(set(texts)) == 32


def digits():
    """Return three class-incremental experiences of a few handwritten digits each."""
    few = Limit(train=24, validation=6, test=12)
    scenario = load_scenario("split-digits")[:3]
    return replace(scenario, tasks=tuple(replace(task, limit=few) for task in scenario.tasks))


def test_classes_arrive_and_what_has_not_arrived_is_not_scored(tmp_path):
    """R is NaN above the diagonal; the head grows; head-only leaves no adapter behind."""
    record = run(digits(), "head-only", out=tmp_path / "r", settings=QUICK)
    matrix = record.matrix()

    assert np.isnan(matrix[np.triu_indices(3, 1)]).all()
    assert np.isfinite(matrix[np.tril_indices(3)]).all()
    assert np.isnan(record.baseline()).all()
    assert not (tmp_path / "r" / "adapters").exists()
    (head,) = {event["trained_numbers"] for event in record.events()[-1:]}
    assert head % 6 == 0  # six classes after three experiences of two


@pytest.mark.slow
@pytest.mark.parametrize("class_loss", ["current", "seen"])
def test_growing_heads_are_continued_too(tmp_path, class_loss):
    """An interrupted class-incremental run leaves the bytes of an uninterrupted one."""
    settings = {**QUICK, "train": {**QUICK["train"], "class_loss": class_loss}}
    run(digits(), "slora", out=tmp_path / "whole", settings=settings)
    for n in (9, 12, 15):
        with pytest.raises(CrashError):
            run(digits(), "slora", out=tmp_path / "torn", settings=settings, reporter=CrashAt(n))
    run(digits(), "slora", out=tmp_path / "torn", settings=settings)

    assert content(tmp_path / "torn") == content(tmp_path / "whole")
