"""Label ranking and generation against the slow and obvious way of computing them."""

import pytest
import torch

from continual.backbone.base import Backbone
from continual.backbone.written import normalise
from continual.errors import InputError
from continual.metrics.generation import edit_similarity, rouge_l, sari
from continual.scenario import Candidates

from .conftest import LABELS, competing, text_task

FAMILIES = ("llama", "gpt2", "t5")


def slow_nats(backbone: Backbone, prompt: str, answer: str) -> float:
    """Score one (prompt, answer) pair by one forward pass without padding or cache."""
    tokenizer, model = backbone.codec.tokenizer, backbone.model
    if backbone.family == "encoder-decoder":
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        spoken = [*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        begin = [model.config.decoder_start_token_id]
        fed = torch.tensor([begin + spoken[:-1]])
        logits = model(input_ids=ids, decoder_input_ids=fed).logits[0]
    else:
        before = tokenizer(prompt).input_ids
        spoken = tokenizer(" " + answer, add_special_tokens=False).input_ids
        spoken = [*spoken, tokenizer.eos_token_id]
        logits = model(input_ids=torch.tensor([before + spoken])).logits[0, len(before) - 1 : -1]
    chosen = logits.double().log_softmax(-1)
    return -sum(float(chosen[k, token]) for k, token in enumerate(spoken))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_ranking_equals_one_forward_per_pair(backbone, family, batch_size):
    """Sharing the prompt between the labels changes neither their order nor their nats."""
    model, task = backbone(family), text_task()
    split = task.load().test

    with torch.no_grad():
        slow = [
            [slow_nats(model, task.render(example), text) for text in task.verbalizers]
            for example in split
        ]
    scored = model.score(task, model.encode(task, split), competing(task), batch_size)

    for one, costs, example in zip(scored, slow, split, strict=True):
        assert one.id == example.id
        assert one.prediction == LABELS[costs.index(min(costs))]
        assert one.nats == pytest.approx(costs[example.label], rel=1e-4)
        assert one.correct == float(one.prediction == LABELS[example.label])


@pytest.mark.parametrize("family", FAMILIES)
def test_many_labels_are_ranked_in_parts(backbone, family, monkeypatch):
    """A limit on the rows read at a time does not change the result."""
    model, task = backbone(family), text_task()
    encoded = model.encode(task, task.load().test)

    whole = model.score(task, encoded, competing(task), 3)
    monkeypatch.setattr("continual.backbone.decoding.ROWS", 4)
    parts = model.score(task, encoded, competing(task), 3)

    assert [one.prediction for one in parts] == [one.prediction for one in whole]
    for one, other in zip(parts, whole, strict=True):
        assert one.nats == pytest.approx(other.nats, rel=1e-5)


def test_the_prompt_is_read_once_per_example(backbone):
    """Ranking four labels projects one prompt, then the answers' own tokens."""
    model, task = backbone("llama"), text_task()
    encoded = model.encode(task, task.load().test)
    fed = []
    model.model.register_forward_pre_hook(
        lambda module, args, options: fed.append(tuple(options["input_ids"].shape)),
        with_kwargs=True,
    )

    model.score(task, encoded, competing(task), 5)

    longest = max(len(row) for row in model.codec.targets(LABELS))
    assert fed == [(5, int(encoded.prompts.lengths.max())), (20, longest - 1)]


def test_other_candidates_compete(backbone):
    """In a growing class-incremental stream the ranking is over all candidates."""
    model, task = backbone("llama"), text_task(labels=LABELS)
    encoded = model.encode(task, task.load().test)
    more = (*LABELS, "dog", "the quick brown fox")
    wide = Candidates(head="shared", labels=more, texts=more, current=(0, 1, 2, 3))

    narrow_scores = model.score(task, encoded, competing(task), 2)
    wide_scores = model.score(task, encoded, wide, 2)

    assert {one.prediction for one in wide_scores} <= set(more)
    for one, other in zip(narrow_scores, wide_scores, strict=True):
        assert one.nats == pytest.approx(other.nats, rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_generation_equals_transformers(backbone, family, batch_size):
    """Our greedy loop writes what transformers' generate writes for each prompt alone."""
    model, task = backbone(family), text_task(score="exact_match")
    split = task.load().test
    tokenizer = model.codec.tokenizer
    longest = max(len(row) for row in model.codec.targets(LABELS, space=family != "t5"))

    scored = model.score(task, model.encode(task, split), None, batch_size)

    for one, example in zip(scored, split, strict=True):
        ids = tokenizer(task.render(example), return_tensors="pt").input_ids
        out = model.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=longest,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=tokenizer.eos_token_id,
        )[0]
        begin = 1 if family == "t5" else ids.shape[1]
        text = tokenizer.decode(out[begin:], skip_special_tokens=True).strip()
        assert one.prediction == text
        assert one.correct == float(normalise(text) == normalise(LABELS[example.label]))
        with torch.no_grad():
            cost = slow_nats(model, task.render(example), LABELS[example.label])
        assert one.nats == pytest.approx(cost, rel=1e-4)


def test_a_learned_answer_is_generated_and_stops(backbone):
    """After training on one answer the model writes it, and the end token stops it."""
    model = backbone("llama")
    rows = [{"text": "The team won.", "target": "two goals"}]
    task = text_task(rows, kind="text-generation", labels=(), prompt="{text} Answer:")
    encoded = model.encode(task, task.load().train)
    model.model.requires_grad_(True)
    optimiser = torch.optim.Adam(model.model.parameters(), lr=0.01)
    for _ in range(20):
        optimiser.zero_grad()
        model.loss(encoded.batch([0]), None, False)[0].backward()
        optimiser.step()

    [scored] = model.score(task, encoded, None, 1)

    assert (scored.prediction, scored.correct) == ("two goals", 1.0)
    assert scored.nats < 0.5


def test_classification_without_candidates_is_refused(backbone):
    """A task whose classes have not arrived has no score."""
    model, task = backbone("llama"), text_task()

    with pytest.raises(InputError, match="classes have not arrived"):
        model.score(task, model.encode(task, task.load().test), None, 2)


def test_a_truth_that_does_not_compete_is_refused(backbone):
    """Scoring against candidates that lack the truth would count it wrong silently."""
    model, task = backbone("llama"), text_task()
    few = Candidates(head="topics", labels=("sports",), texts=("sports",), current=(0,))

    with pytest.raises(InputError, match=r"\['business', 'science', 'world politics'\]"):
        model.score(task, model.encode(task, task.load().test), few, 2)


def test_candidates_beyond_the_positions_are_refused(backbone):
    """The message says by how much to lower max_length."""
    model, task = backbone("gpt2"), text_task()
    long = " ".join(["quick brown fox"] * 20)
    wide = Candidates(head="t", labels=(*LABELS, "x"), texts=(*LABELS, long), current=(0,))

    with pytest.raises(InputError, match=r"lower max_length by \d+"):
        model.score(task, model.encode(task, task.load().test), wide, 2)


@pytest.mark.parametrize("score", ["rouge_l", "edit_similarity", "sari"])
def test_graded_scores_of_what_was_written(backbone, score, monkeypatch):
    """Each example has the score of its text; sari compares with the source text too."""
    model = backbone("llama")
    said = [model.codec.tokenizer(f"The team won {n} cups").input_ids for n in range(9)]
    monkeypatch.setattr(
        "continual.backbone.written.greedy", lambda reading, *_: said[: len(reading.logits)]
    )
    rows = [{"text": f"The team won {n} goals.", "target": f"won {n} goals"} for n in range(4)]
    task = text_task(rows, kind="text-generation", labels=(), prompt="{text} Short:", score=score)
    split = task.load().test

    scored = model.score(task, model.encode(task, split), None, 3)

    for one, example in zip(scored, split, strict=True):
        wanted = {
            "rouge_l": rouge_l(one.prediction, example.target),
            "edit_similarity": edit_similarity(one.prediction, example.target),
            "sari": sari(example.text, one.prediction, [example.target]),
        }[score]
        assert one.correct == wanted
        assert 0.0 < one.correct < 1.0
