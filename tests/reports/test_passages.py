"""Where a probe's loss rose most."""

import re

import numpy as np
import pytest

from continual.backbone import load_backbone
from continual.records import RunRecord, TokenRow, write_tokens
from continual.reports import write_report
from continual.reports.passages import LENGTH, heat, worst_passages
from continual.runs.assemble import run
from continual.scenario import load_scenario
from tests.sequences import QUICK


def rows(rises):
    """One token per rise, in documents of 100."""
    return [
        TokenRow(probe="p", document=k // 100, piece=f"w{k} ", before=1.0, after=1.0 + rise)
        for k, rise in enumerate(rises)
    ]


def test_the_worst_passages_come_first(make_run):
    """Means over 48 tokens; a short end counts only where it is the whole document."""
    rises = np.zeros(210)
    rises[48:96] = 2.0  # the second passage of the first document
    rises[100:148] = 1.0
    rises[196:200] = 50.0  # an end of four tokens
    rises[200:210] = 0.5  # a document of ten
    path = make_run("lora")
    write_tokens(path, rows(rises.tolist()))
    found = worst_passages(RunRecord.open(path))

    assert [(p.document, round(p.after - p.before, 3)) for p in found] == [(0, 2), (1, 1), (2, 0.5)]
    assert [len(p.tokens) for p in found] == [LENGTH, LENGTH, 10]
    assert found[0].tokens[0] == ("w48 ", 2.0)
    assert found[2].worst == ("w200 ", 0.5)


def test_a_probe_that_became_easier_has_none(make_run):
    """And so has a run without probes."""
    path = make_run("lora")
    write_tokens(path, rows([-1.0] * 60))

    assert worst_passages(RunRecord.open(path)) == ()
    assert worst_passages(RunRecord.open(make_run("lora", 1))) == ()


def test_heat_is_bounded():
    """What became easier has no colour."""
    assert [heat(rise) for rise in (-3.0, 0.0, 3.0, 6.0, 60.0)] == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_the_page_shows_them_escaped(make_run, tmp_path):
    """Whatever the probe says."""
    path = make_run("lora")
    bad = TokenRow(probe="p", document=0, piece="<script>x</script>", before=0.0, after=9.0)
    write_tokens(path, [bad] * 3)
    page, text = write_report([path], tmp_path / "r.html")

    assert page.read_text().count("&lt;script&gt;x&lt;/script&gt;") >= 3
    assert "<script>x" not in page.read_text() + text.read_text()
    assert re.search(r"--heat: 1.0", page.read_text())


@pytest.mark.slow
def test_a_run_keeps_every_token_before_and_after(tmp_path):
    """Their means are the probe's rows; their pieces are the probe's text."""
    scenario = load_scenario("pydocs")[:1]
    settings = {**QUICK, "train": {**QUICK["train"], "max_steps": 3}}
    record = run(scenario, "lora", out=tmp_path / "r", settings=settings)
    tokens = record.tokens()
    ((name, nats),) = record.probes().items()
    documents = scenario.probes[0].load().documents

    assert np.mean([t.before for t in tokens]) == pytest.approx(nats[0], rel=1e-9)
    assert np.mean([t.after for t in tokens]) == pytest.approx(nats[-1], rel=1e-9)
    said = "".join(t.piece for t in tokens if t.document == 0)
    assert said == documents[0]
    assert {t.probe for t in tokens} == {name}


def test_pieces_are_the_text(tmp_path):
    """Letters of several bytes included."""
    text = "naïve — π ≈ 3.14 🙂\n\tdef f(x):\n"
    model = load_backbone("tiny-lm")
    (found,) = model.corpus([text], window=32, stride=32, batch_size=1)

    assert "".join(model.pieces(text)) == text
    assert len(model.pieces(text)) == found.tokens == len(found.each)
    assert sum(found.each) == pytest.approx(found.nats)
