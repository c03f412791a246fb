"""Perplexity from sums: every token of every document once, in stated windows."""

import math
import re

import pytest
import torch

from continual.backbone import load_backbone
from continual.backbone.windows import rolling
from continual.errors import InputError
from continual.metrics import bits_per_byte
from continual.metrics.perplexity import final_word_perplexity
from continual.scenario import load_scenario

from .conftest import SENTENCES

DOCUMENTS = [" ".join(SENTENCES), SENTENCES[0], "", "Ünïcode — ok", SENTENCES[1] * 3]


def slow_document(model, document, window, stride):
    """Score a document token by token, by the definition of rolling windows."""
    tokens = [model.codec.start, *model.codec.ids(document)]
    total = 0.0
    for begin, first, end in rolling(len(tokens) - 1, window, stride):
        for k in range(first, end):
            fed = torch.tensor([tokens[begin + 1 : k + 1]])
            with torch.no_grad():
                logits = model.model(input_ids=fed).logits[0, -1].double()
            total -= logits.log_softmax(-1)[tokens[k + 1]].item()
    return total


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize(("window", "stride"), [(16, 16), (16, 5), (64, 64)])
def test_the_corpus_equals_the_token_by_token_sum(backbone, family, window, stride):
    """Nats, tokens and bytes of each document are those of the slow computation."""
    model = backbone(family)

    found = model.corpus(DOCUMENTS, window=window, stride=stride, batch_size=3)

    for one, document in zip(found, DOCUMENTS, strict=True):
        assert one.tokens == len(model.codec.ids(document))
        assert one.bytes == len(document.encode())
        assert one.nats == pytest.approx(slow_document(model, document, window, stride), rel=1e-4)
    assert found[2].nats == 0.0


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_the_batch_size_is_invisible(backbone, batch_size):
    """Grouping windows differently changes nothing beyond rounding."""
    model = backbone("llama")

    alone = model.corpus(DOCUMENTS, window=12, stride=6, batch_size=5)
    found = model.corpus(DOCUMENTS, window=12, stride=6, batch_size=batch_size)

    for one, other in zip(found, alone, strict=True):
        assert one.nats == pytest.approx(other.nats, rel=1e-4)


@pytest.mark.parametrize("tokens", [0, 1, 4, 5, 23, 64])
@pytest.mark.parametrize(("window", "stride"), [(4, 4), (4, 1), (5, 3)])
def test_windows_score_every_token_once(tokens, window, stride):
    """The scored parts join without gap or overlap, and no window reads more than it may."""
    windows = rolling(tokens, window, stride)

    assert [k for _, first, end in windows for k in range(first, end)] == list(range(tokens))
    assert all(end - begin - 1 <= window for begin, _, end in windows)
    assert all(end - begin - 1 == window for begin, _, end in windows[1:])


@pytest.mark.parametrize(("window", "stride"), [(16, 17), (16, 0), (0, 0), (65, 65)])
def test_windows_that_cannot_be_are_refused(backbone, window, stride):
    """The message gives the bounds."""
    with pytest.raises(InputError, match=r"stride|positions"):
        backbone("llama").corpus(["a"], window=window, stride=stride, batch_size=1)


def test_a_batch_size_below_one_is_refused(backbone):
    """It would score nothing."""
    with pytest.raises(InputError, match="batch_size must be at least 1; got 0"):
        backbone("llama").corpus(["a"], window=8, stride=8, batch_size=0)


@pytest.mark.parametrize("family", ["t5", "bert", "vit"])
def test_only_causal_models_have_a_perplexity(backbone, family):
    """Other families say so, and measures_perplexity is False."""
    model = backbone(family)

    assert not model.measures_perplexity
    with pytest.raises(InputError, match="probes need a causal language model"):
        model.corpus(["a"], window=8, stride=8, batch_size=1)


def harness_windows(tokens, prefix, longest):
    """The rolling windows of lm-evaluation-harness with one token of context.

    Each predicts the next ``longest`` tokens; a shorter last one reads as far back as fits.
    """
    predicted = min(longest, len(tokens))
    yield [prefix, *tokens[: predicted - 1]], tokens[:predicted]
    while predicted < len(tokens):
        count = min(len(tokens) - predicted, longest)
        end = predicted + count
        yield tokens[end - longest - 1 : end - 1], tokens[end - count : end]
        predicted = end


@pytest.mark.slow
def test_perplexities_are_those_of_the_harness_on_the_embedded_probe():
    """Word and byte perplexity and bits per byte, from one token at a time, to a millionth."""
    model = load_backbone("tiny-lm")
    documents = list(load_scenario("pydocs").probes[0].load().documents)[:4]
    documents = [document[:1500] for document in documents]
    window = 64
    found = model.corpus(documents, window=window, stride=window, batch_size=8)
    likelihood = 0.0
    for document in documents:
        tokens = model.codec.ids(document)
        for fed, wanted in harness_windows(tokens, model.codec.start, window):
            for k, token in enumerate(wanted):
                seen = fed[: len(fed) - len(wanted) + 1 + k]
                with torch.no_grad():
                    logits = model.model(input_ids=torch.tensor([seen])).logits[0, -1].double()
                likelihood += logits.log_softmax(-1)[token].item()
    nats = math.fsum(one.nats for one in found)
    words = sum(len(re.split(r"\s+", document)) for document in documents)
    size = sum(len(document.encode()) for document in documents)

    assert nats == pytest.approx(-likelihood, rel=1e-6)
    assert final_word_perplexity([nats / words]) == pytest.approx(
        math.exp(-likelihood / words), rel=1e-5
    )
    assert math.exp(nats / size) == pytest.approx(math.exp(-likelihood / size), rel=1e-6)
    assert bits_per_byte(nats, size) == pytest.approx(-likelihood / size / math.log(2), rel=1e-6)
