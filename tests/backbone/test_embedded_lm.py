"""tiny-lm, the language model that comes with the library."""

import json
import math
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continual.backbone import EMBEDDED, load_backbone
from continual.scenario.stdlib import language_reference

RESULTS = Path(__file__).parents[2] / "analysis" / "tiny-lm" / "results.json"
SLICE = 12_000  # characters of held-out text


@pytest.fixture(scope="module")
def model():
    return load_backbone("tiny-lm")


def test_it_loads_as_a_small_causal_model(model):
    """Family, positions and the number of parameters that the results state."""
    count = sum(p.numel() for p in model.model.parameters())

    assert model.family == "causal-lm"
    assert model.max_length == 512
    assert count == json.loads(RESULTS.read_text())["parameters"]


@settings(max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_comes_back_byte_for_byte(model, text):
    """The alphabet holds all 256 bytes: nothing is unknown, normalised or stripped."""
    assert model.codec.tokenizer.decode(model.codec.ids(text)) == text


@pytest.mark.parametrize(
    "text", ["<s>", "</s><pad>", " a  b \r\n\t", "ﬁ é e\u0301 🐍 中文 \x00\x7f"]
)
def test_special_tokens_inside_a_text_are_text(model, text):
    """A user's "</s>" ends nothing, and odd characters survive."""
    ids = model.codec.ids(text)

    assert min(ids) > 2
    assert model.codec.tokenizer.decode(ids) == text


def test_the_folder_is_small_and_readable_by_all():
    """At most 8 MB in the wheel, and no file that only its owner can read."""
    files = [path for path in EMBEDDED["tiny-lm"].rglob("*") if path.is_file()]

    assert sum(path.stat().st_size for path in files) <= 8_000_000
    assert all(path.stat().st_mode & stat.S_IROTH for path in files)


def test_it_predicts_held_out_text_better_than_an_n_gram_model(model):
    """Bits per byte of a slice of the held-out language reference, against Kneser-Ney's."""
    held_out = json.loads(RESULTS.read_text())["held_out"]["language reference"]
    text = "".join(topic["text"] for topic in language_reference("held-out"))[:SLICE]

    (scored,) = model.corpus([text], window=256, stride=256, batch_size=8)

    assert scored.bytes == len(text.encode())
    assert scored.nats / math.log(2) / scored.bytes < held_out["kneser-ney-5"]
