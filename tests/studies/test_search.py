"""Settings chosen on the tasks seen so far."""

import json
from dataclasses import replace

import pytest
import yaml

from continual import InputError, RunRecord
from continual.runs.progress import SilentReporter
from continual.scenario import CallableSource
from continual.studies import Question, ask, run_asked, search
from continual.studies.judging import Judge, PrunedError, medians, values_of
from continual.studies.proposals import propose
from continual.studies.space import parse_space
from continual.studies.trials import Trial, best_of, read_trials
from tests.sequences import QUICK, rows, small_scenario

SEQUENCE = {"name": "s", "setting": "task-incremental"}
SPACE = parse_space(["train.lr=1e-3..1e-1:log", "method.rank=2,4"])


def question(**changes):
    """Return a search of lora's rate and rank."""
    known = {"method": "lora", "space": SPACE, "settings": QUICK}
    return Question(**{**known, **changes})


def ended(number, lr, value, **changes):
    """Return a trial that has ended."""
    known = {"settings": {"train.lr": lr, "method.rank": 2}, "state": "complete"}
    return Trial(**{"number": number, **known, "values": (value,), **changes})


def test_proposals_depend_on_the_seed_and_the_trials_alone():
    """So that an interrupted search goes on as if it had not been."""
    book = [ended(0, 1e-3, 0.9), ended(1, 1e-2, 0.5), ended(2, 1e-1, 0.0, state="diverged")]
    once, again = (propose(question(), book, 2) for _ in range(2))

    assert once == again
    assert [trial.number for trial in once] == [3, 4]
    assert all(1e-3 <= trial.settings["train.lr"] <= 1e-1 for trial in once)
    assert {trial.settings["method.rank"] for trial in once} <= {2, 4}
    assert propose(question(seed=1), book, 1) != once[:1]
    assert propose(question(), book[:2], 1)[0].settings != once[0].settings


def test_the_best_is_the_lowest_nats_or_the_highest_score_of_what_finished():
    """The earlier of equals; what was stopped does not count."""
    book = [ended(0, 1e-3, 0.5), ended(1, 1e-2, 0.4), ended(2, 1e-1, 0.1, state="pruned")]
    book += [ended(3, 2e-2, 0.4), ended(4, 3e-2, 0.5)]

    assert best_of(book, "nats") == book[1]
    assert best_of(book, "score") == book[0]
    assert best_of(book[2:3], "nats") is None


def test_a_trial_behind_the_median_is_stopped(make_rows):
    """Worked: at 0.75 nats where the median of five was 0.7; level with it, it goes on."""
    histories = [[0.6, 1.0], [0.65, 1.0], [0.7, 1.0], [0.8, 1.0], [0.9, 1.0]]
    assert medians(histories[:4], 5) == ()
    assert medians(histories, 5) == (0.7,)

    with pytest.raises(PrunedError, match=r"nats 0.7500 after 1 task\(s\), where the median"):
        Judge(objective="nats", limits=(0.7,)).check(make_rows(0.75))
    Judge(objective="nats", limits=(0.75,)).check(make_rows(0.75))
    Judge(objective="nats").check(make_rows(0.75))


@pytest.fixture
def make_rows(tmp_path):
    """Return a record of one experience with those nats."""
    from continual.records import ScoreRow, write_scores

    def make(nats):
        config = {
            "scenario": "s",
            "method": "lora",
            "backbone": "tiny-lm",
            "seed": 0,
            "tasks": [{"name": n, "kind": "k", "score": "accuracy"} for n in ("a", "b")],
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
        values = {(-1, "a"): 9.0, (0, "a"): nats, (0, "b"): 5.0}  # b is later: it does not count
        rows = [
            ScoreRow(experience=i, step=1, task=t, metric="nats_per_token", value=v, n=1)
            for (i, t), v in values.items()
        ]
        write_scores(tmp_path, rows)
        return RunRecord.open(tmp_path)

    return make


def test_a_search_that_cannot_be_is_refused(tmp_path):
    """Before anything is written."""

    def tried(**changes):
        known = {"trials": 1, "out": tmp_path / "s", "reporter": SilentReporter()}
        asked = changes.pop("question", question())
        search(small_scenario(2), asked, **{**known, **changes})

    for changes, message in (
        ({"trials": 0}, "at least 1; got 0"),
        ({"question": question(tasks=3)}, "takes 1 to 2 tasks"),
        ({"question": question(method="frozn")}, "did you mean 'frozen'"),
        ({"jobs": 0}, "at least 1; got 0"),
    ):
        with pytest.raises(InputError, match=message):
            tried(**changes)
    assert not (tmp_path / "s").exists()


def forbidden() -> list[dict[str, str]]:
    """Stand for data that must not be read."""
    raise AssertionError("this was read")


@pytest.mark.slow
def test_nothing_but_what_has_been_seen_is_read_and_a_search_goes_on(tmp_path):
    """Test splits and the third task raise when read; two trials and two more are four."""
    never = CallableSource(callable=f"{__name__}:forbidden")
    first, second, third = small_scenario(3).tasks
    tasks = (replace(first, test=never), replace(second, test=never))
    whole = replace(small_scenario(3), tasks=(*tasks, replace(third, train=never, test=never)))
    books = {}
    for name, parts in (("once", [4]), ("twice", [2, 4])):
        for trials in parts:
            found = search(
                whole,
                question(tasks=2),
                trials=trials,
                out=tmp_path / name,
                reporter=SilentReporter(),
            )
        books[name] = (tmp_path / name / "trials.jsonl").read_text()

    assert books["once"] == books["twice"]
    record = RunRecord.open(tmp_path / "once" / found.best.name)
    assert record.tasks == ("weather", "food")
    assert found.best.values == tuple(values_of(record, "nats"))
    chosen = yaml.safe_load(found.file.read_text())
    assert chosen["train"]["lr"] == found.best.settings["train.lr"]
    with pytest.raises(InputError, match=r"holds another search(.|\n)*seed: 0"):
        search(
            whole,
            question(tasks=2, seed=1),
            trials=4,
            out=tmp_path / "once",
            reporter=SilentReporter(),
        )


@pytest.mark.slow
def test_what_diverges_or_cannot_be_is_a_result(tmp_path):
    """With a reason; the others are chosen from, and a search of nothing else says so."""
    wild = {**QUICK, "train": {**QUICK["train"], "clip": None, "warmup": 0.0}}
    space = parse_space(["train.lr=1e-2,1e30"])
    found = search(
        small_scenario(1),
        question(space=space, settings=wild),
        trials=4,
        out=tmp_path / "a",
        reporter=SilentReporter(),
    )

    states = {trial.settings["train.lr"]: trial.state for trial in found.trials}
    assert states == {1e-2: "complete", 1e30: "diverged"}
    assert found.best.settings == {"train.lr": 1e-2}
    assert len(list((tmp_path / "a").glob("trial-*"))) == 2  # the same settings are made once
    assert all("not finite" in t.why for t in read_trials(tmp_path / "a") if t.state == "diverged")
    with pytest.raises(InputError, match=r"no trial has finished(.|\n)*trial-000: diverged"):
        search(
            small_scenario(1),
            question(space=parse_space(["train.lr=1e30,1e31"]), settings=wild),
            trials=1,
            out=tmp_path / "b",
            reporter=SilentReporter(),
        )


@pytest.mark.slow
def test_a_study_may_choose_before_it_runs(tmp_path):
    """The runs have the chosen settings; the same call again makes nothing anew."""
    scenario = tmp_path / "s.yaml"
    for part, count, offset in (("train", 24, 0), ("test", 8, 1000)):
        lines = [json.dumps(row) for row in rows("weather", count, offset)]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(lines))
    task = {"name": "weather", "kind": "text-classification", "labels": ["cold", "warm"]}
    task |= {part: {"file": f"{part}.jsonl"} for part in ("train", "test")}
    scenario.write_text(yaml.safe_dump(SEQUENCE | {"tasks": [task]}))
    file = {
        "scenario": "s.yaml",
        "methods": ["frozen", "lora"],
        "backbone": "tiny-lm",
        "settings": QUICK,
        "search": {"space": {"train.lr": [0.001, 0.02]}, "trials": 2, "methods": ["lora"]},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(file))
    for _ in range(2):
        asked = ask(str(tmp_path / "study.yaml"))
        records = run_asked(asked, out=tmp_path / "out", reporter=SilentReporter())

    chosen = yaml.safe_load((tmp_path / "out" / "search" / "lora" / "chosen.yaml").read_text())
    assert [record.path.name for record in records] == ["frozen-seed0", "lora-seed0"]
    assert records[1].config["train"]["lr"] == chosen["train"]["lr"]
    assert (tmp_path / "out" / "cells.jsonl").read_text().count('"begun"') == 2
