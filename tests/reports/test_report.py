"""What a report shows, and what it refuses."""

import csv
import re
import resource
import subprocess
import sys
from itertools import pairwise

import pytest
from rich.console import Console

from continual.errors import InputError
from continual.records import RunRecord
from continual.reports import print_comparison, print_matrix, write_report
from continual.reports.terminal import print_rows


@pytest.fixture
def study(make_run):
    """Two methods beside their frozen control, three seeds each."""
    return [make_run(m, s) for m in ("lora", "curlora", "frozen") for s in (0, 1, 2)]


def test_the_page_stands_alone(make_run, tmp_path):
    """Nothing is loaded from elsewhere: styles and pictures are inside."""
    page, _ = write_report([make_run(tasks=("a", "b"))], tmp_path / "r.html")
    html = page.read_text()

    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)(?!https?://arxiv)[^"']*""", html)
    assert not re.findall(r"@import|url\(|<script [^>]|<link|<iframe", html)
    assert "<style" in html
    assert "data:image/" in html


def test_both_forms_say_what_was_learned_and_what_was_lost(study, tmp_path):
    """Ids beside numbers, a sentence per method, intervals over seeds, the majority class."""
    for path in write_report(study, tmp_path / "r.html"):
        text = path.read_text()
        assert "forgetting.chaudhry2018" in text
        assert "learning_accuracy" in text
        assert re.search(r"lora learned 0\.\d\d on average", text)
        assert "majority class" in text
        assert re.search(r"\\?\[0\.\d+, 0\.\d+\\?\]", text)
        assert "turned from right to" in text


def test_what_weakens_a_comparison_is_said_in_words(make_run, tmp_path):
    """One seed, missing controls, an unfinished run."""
    page, _ = write_report([make_run("curlora", 0, reached=1)], tmp_path / "r.html")
    html = page.read_text()

    assert "only one seed" in html
    assert "Controls are missing: " in html
    assert "Not finished" in html


def test_names_and_predictions_are_text_and_never_markup(make_run, tmp_path):
    """A task that is named like a script, and predictions with tags, show as they are written."""
    evil = "<script>alert(1)</script>"
    page, text = write_report(
        [make_run("lora", 0, tasks=(evil, "b")), make_run("frozen", 0, tasks=(evil, "b"))],
        tmp_path / "r.html",
    )

    assert evil not in page.read_text()
    assert "<b>business</b>" not in page.read_text()
    assert "&lt;b&gt;business" in page.read_text()
    assert evil not in text.read_text()


@pytest.mark.slow
def test_runs_that_cannot_be_compared_have_a_section_each(make_run, tmp_path):
    """Another scenario or backbone is another section."""
    small = {"tasks": ("a", "b"), "examples": False}
    runs = [
        make_run(**small),
        make_run(scenario="home", **small),
        make_run(backbone="gpt2", **small),
    ]
    page, _ = write_report(runs, tmp_path / "r.html")

    assert len(re.findall(r"<h2", page.read_text())) >= 3


def test_pictures_of_the_markdown_lie_beside_it(make_run, tmp_path):
    """Every picture that the text names is there, and no row of a table is short of a cell."""
    _, text = write_report([make_run(tasks=("a|b", "c"))], tmp_path / "r.html")
    named = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text.read_text())

    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in text.read_text().splitlines()]

    assert all(one == two for one, two in pairwise(bars) if one and two)
    assert named
    assert all((tmp_path / name).is_file() for name in named)


def test_directories_that_are_no_runs_are_all_named(make_run, tmp_path):
    """Nothing is written."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"(?s)a.*b") as caught:
        write_report([make_run(), tmp_path / "a", tmp_path / "b"], tmp_path / "r.html")

    assert "run.yaml" in str(caught.value)
    assert not (tmp_path / "r.html").exists()


def test_a_report_is_html(make_run, tmp_path):
    """Another ending is refused with the right one."""
    with pytest.raises(InputError, match=r"end in \.html"):
        write_report([make_run()], tmp_path / "r.pdf")


def test_the_terminal_shows_the_same_numbers(study):
    """R, the scores and the comparison, as text without markup."""
    console = Console(width=200, record=True, force_terminal=False)
    records = [RunRecord.open(path) for path in study]
    print_matrix(records[0], console)
    print_comparison(records, console)
    text = console.export_text()

    assert f"{records[0].matrix()[0, 0]:.3f}" in text
    assert "forgetting.chaudhry2018" in text
    assert "drift.nats_per_token" in text


def test_named_things_are_listed():
    """Truths are yes or no, lists are joined."""
    console = Console(width=80, record=True, force_terminal=False)
    print_rows([{"name": "a", "control": True, "tasks": ["x", "y"]}], console)
    text = console.export_text()

    assert "yes" in text
    assert "x, y" in text


def test_every_figure_has_its_numbers_as_csv(study, tmp_path):
    """Beside the pictures, and under each of them on the page."""
    page, _ = write_report(study, tmp_path / "r.html")
    folder = tmp_path / "r-figures"
    stems = {path.stem for path in folder.glob("*.svg")}

    assert {"1-tradeoff", "1-drift-1", "1-tasks", "1-matrix-01"} <= stems
    assert {path.stem for path in folder.glob("*.csv")} == stems
    rows = list(csv.reader((folder / "1-drift-1.csv").read_text().splitlines()))
    lora = RunRecord.open(study[0])
    nats = lora.probes()["language-reference"]
    assert rows[0][:3] == ["method", "seed", "before training"]
    (row,) = (row for row in rows if row[:2] == ["lora", "0"])
    assert float(row[-1]) == pytest.approx(nats[-1] - nats[0], abs=1e-4)
    assert page.read_text().count("The same as a table") == len(stems)


def test_an_encoder_has_no_picture_of_drift(make_run, tmp_path):
    """The scenario names a probe, and no run could measure it."""
    write_report([make_run(probed=False)], tmp_path / "r.html")

    stems = {path.stem for path in (tmp_path / "r-figures").glob("*.svg")}
    assert not [stem for stem in stems if "drift" in stem]
    assert "1-tasks" in stems


def test_joint_training_is_not_in_the_tradeoff(make_run):
    """It learned everything at once, so it has neither forgetting nor learning accuracy."""
    from continual.reports.comparison import estimates
    from continual.reports.groups import group_runs
    from continual.reports.tradeoff import points

    joint = make_run("joint")
    rows = [row for row in RunRecord.open(joint).score_rows if row.experience in (-1, 2)]
    from continual.records import write_scores

    write_scores(joint, rows)
    (group,) = group_runs([RunRecord.open(path) for path in (joint, make_run("lora"))])

    assert [point.label for point in points(group, estimates(group))] == ["lora"]


@pytest.mark.slow
def test_fifteen_runs_are_a_small_page_quickly_and_without_torch(make_run, tmp_path):
    """At most 5 MB, at most 20 s of a processor, from the run directories alone."""
    methods = ("curlora", "nlora", "slora", "lora", "frozen")
    runs = [make_run(m, s, tasks=tuple("abcde"), costs=True) for m in methods for s in range(3)]
    code = (
        "import sys; from continual.cli import main; "
        f"sys.argv = ['continual', 'report', *{list(map(str, runs))!r}, '--out', "
        f"{str(tmp_path / 'r.html')!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('torch' in sys.modules)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip().endswith("False")
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before <= 20
    assert (tmp_path / "r.html").stat().st_size <= 5_000_000
