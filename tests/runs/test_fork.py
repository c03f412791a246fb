"""A run goes on from the middle of another one."""

import math
import subprocess
import sys

import numpy as np
import pytest

import continual
from continual.adapters import METHODS
from continual.errors import InputError
from continual.records import RunRecord
from continual.reports import write_report
from continual.runs.assemble import run
from continual.runs.fork import fork
from tests.killing import content
from tests.runs.test_run import LM_METHODS, CrashAt, CrashError, digits
from tests.sequences import QUICK, small_scenario
from tests.suites import slow_or_soak

THREE = small_scenario(3)


def without_config(folder) -> dict[str, str]:
    return {name: sum_ for name, sum_ in content(folder).items() if name != "run.yaml"}


@pytest.fixture(scope="module")
def origin(tmp_path_factory):
    """Return a finished run of three experiences, which no test may change."""
    folder = tmp_path_factory.mktemp("fork") / "origin"
    run(THREE, "lora", out=folder, settings=QUICK)
    return folder


@pytest.mark.slow
def test_what_cannot_be_forked_is_refused_before_anything_is_written(tmp_path, origin):
    """Experience, scenario, backbone, penalties and tasks of their own: each says what to do."""
    out = tmp_path / "new"
    other = small_scenario(2)
    for after, method, scenario, settings, message in (
        (2, "lora", THREE, {}, "a fork can begin after 0 to 1"),
        (-1, "lora", THREE, {}, "a fork can begin after 0 to 1"),
        (0, "lora", other, {}, "Give the one of the run"),
        (0, "lora", None, {}, "is not in the catalogue; give its file with --scenario"),
        (0, "lroa", THREE, {}, "did you mean"),
        (0, "lora", THREE, {"backbone": {"dtype": "bfloat16"}}, "a fork keeps the backbone"),
        (0, "lora", THREE, {"train": {"epoch": 2}}, "did you mean 'epochs'"),
        (0, "per-task", THREE, {}, "has none for the tasks that another method has learned"),
        (0, "ewc", THREE, {}, "leave ewc out"),
        (0, "joint", THREE, {}, "learns all tasks at once"),
    ):
        with pytest.raises(InputError, match=message):
            fork(origin, after=after, method=method, out=out, scenario=scenario, settings=settings)
        assert list(tmp_path.iterdir()) == [], message
    with pytest.raises(InputError, match="a fork is a new run"):
        fork(origin, after=0, method="lora", out=origin, scenario=THREE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "beside"),
    [
        ("lora", {}),
        ("inclora", {}),
        ("slora", {"rehearsal": {"size": 10}}),
        ("lora", {"ewc": {"lam": 5.0, "samples": 4}}),
        ("per-task", {}),
        ("peft:lora", {"method": {"mode": "merge"}}),
        ("peft:eva", {}),
        ("peft:eva", {"method": {"mode": "merge"}}),
    ],
)
def test_with_the_same_method_and_settings_a_fork_ends_with_the_same_bytes(
    tmp_path, method, beside
):
    """Its state is carried on: adapters, scores and examples are those of the run itself."""
    run(THREE, method, out=tmp_path / "whole", settings={**QUICK, **beside})
    for after in (0, 1):
        record = fork(
            tmp_path / "whole", after=after, method=method, out=tmp_path / "new", scenario=THREE
        )

        assert without_config(tmp_path / "new") == without_config(tmp_path / "whole")
        assert record.config["fork"]["carries"] == "state"
        assert continual.verify(tmp_path / "new").whole
        (tmp_path / "new").rename(tmp_path / f"done-{after}")


@pytest.mark.parametrize(
    "method",
    slow_or_soak(
        [n for n in LM_METHODS if n not in ("per-task", "mtl-lora", "ewc", "joint")],
        ("lora", "full", "curlora", "nlora", "slora", "replay", "pica", "dora", "eva", "frozen"),
    ),
)
def test_another_method_goes_on_from_the_merged_weights(tmp_path, origin, method):
    """Its rows up to the fork are copied, and until it learns it is the model that was forked."""
    if METHODS[method].identity:
        pytest.skip("what it begins with is not quite the backbone, as its paper has it")
    lr = {"train": {"lr": 1e-12, "weight_decay": 0.0}}
    settings = lr if METHODS[method].trains != "nothing" else {}
    record = fork(
        origin, after=1, method=method, out=tmp_path / "new", scenario=THREE, settings=settings
    )
    before, now = RunRecord.open(origin), record

    assert (now.matrix()[:2] == before.matrix()[:2]).all()
    nats = {(r.experience, r.task): r.value for r in now.score_rows if r.metric == "nats_per_token"}
    if method not in ("lora-rite", "lora-pro", "sora", "loko"):  # whose steps have no such rate
        for task in now.tasks:
            assert math.isclose(nats[1, task], nats[2, task], rel_tol=2e-3)
    assert continual.verify(tmp_path / "new").whole


@pytest.mark.slow
def test_a_fork_of_a_fork_and_of_full_fine_tuning(tmp_path, origin):
    """Merged weights are stacked; full fine-tuning says what it keeps and the way on."""
    fork(origin, after=0, method="curlora", out=tmp_path / "a", scenario=THREE)
    fork(tmp_path / "a", after=1, method="inclora", out=tmp_path / "b", scenario=THREE)
    R, first = RunRecord.open(tmp_path / "b").matrix(), RunRecord.open(origin).matrix()
    run(THREE, "full", out=tmp_path / "full", settings=QUICK)

    assert (R[0] == first[0]).all()
    assert (R[1] == RunRecord.open(tmp_path / "a").matrix()[1]).all()
    assert continual.verify(tmp_path / "b").whole
    with pytest.raises(InputError, match=r"keeps no state after experience 0 .*--backbone"):
        fork(tmp_path / "full", after=0, method="lora", out=tmp_path / "c", scenario=THREE)


@pytest.mark.slow
def test_a_fork_that_was_interrupted_goes_on(tmp_path, origin):
    """By the same call or by run with its settings, to the bytes of one that was not."""
    again = {"after": 0, "method": "curlora", "scenario": THREE}
    fork(origin, out=tmp_path / "whole", **again)
    for name in ("by-fork", "by-run"):
        with pytest.raises(CrashError):
            fork(origin, out=tmp_path / name, reporter=CrashAt(17), **again)
        assert not RunRecord.open(tmp_path / name).complete
        assert continual.verify(tmp_path / name).whole
    fork(origin, out=tmp_path / "by-fork", **again)
    run(THREE, "curlora", out=tmp_path / "by-run", settings=QUICK)

    assert content(tmp_path / "by-fork") == content(tmp_path / "whole")
    assert content(tmp_path / "by-run") == content(tmp_path / "whole")
    with pytest.raises(InputError, match="is of another fork"):
        fork(origin, out=tmp_path / "whole", after=1, method="curlora", scenario=THREE)


@pytest.mark.slow
def test_a_report_says_that_a_run_is_a_fork(tmp_path, origin):
    """In the caption of R, among the warnings and among the settings."""
    fork(origin, after=0, method="curlora", out=tmp_path / "new", scenario=THREE)
    _, text = write_report([tmp_path / "new", origin], tmp_path / "page.html")
    told = f"forked from {origin} after experience 1 (lora until then)"

    assert f"curlora, seed 0, is forked from {origin}" in text.read_text()
    assert told in (tmp_path / "page.html").read_text()
    assert RunRecord.open(tmp_path / "new").environment["fork"]["method"] == "lora"


@pytest.mark.slow
def test_heads_keep_what_they_learned(tmp_path):
    """A class-incremental fork scores its first classes as the run that it comes from."""
    run(digits(), "slora", out=tmp_path / "whole", settings=QUICK)
    settings = {"train": {"lr": 1e-12}}
    now = fork(
        tmp_path / "whole",
        after=1,
        method="lora",
        out=tmp_path / "new",
        scenario=digits(),
        settings=settings,
    )
    R = RunRecord.open(tmp_path / "whole").matrix()

    np.testing.assert_array_equal(now.matrix()[:2], R[:2])
    assert without_config(tmp_path / "new").keys() >= {"adapters/after-02/heads.safetensors"}


@pytest.mark.slow
def test_the_command_says_what_is_wrong_without_a_traceback(tmp_path, origin):
    """Exit code 2, one message."""
    command = [sys.executable, "-m", "continual.cli", "fork", str(origin), "--method", "lora"]
    for more, message in (
        (["--after", "0", "--out", "x"], "is not in the catalogue"),
        (["--after", "7", "--out", "x"], "a fork can begin after 0 to 1"),
        (["--after", "0", "--out", "x", "--scenario", "pydocs"], "Give the one of the run"),
    ):
        found = subprocess.run([*command, *more], capture_output=True, text=True, cwd=tmp_path)

        assert found.returncode == 2
        assert message in found.stderr
        assert "Traceback" not in found.stderr
