"""Heads grow as classes arrive, and forget nothing while they grow."""

import numpy as np
import pytest
import torch

from continual.backbone.heads import Heads, initial_row
from continual.errors import InputError
from continual.scenario import Candidates

from .conftest import LABELS, competing, image_task, text_task


def shared(labels, current=None):
    places = tuple(range(len(labels))) if current is None else current
    return Candidates(head="shared", labels=labels, texts=labels, current=places)


def test_growing_keeps_old_rows_bit_for_bit():
    """What was learned about the first classes is untouched by the next ones."""
    heads = Heads(6)
    heads.grow("shared", ("a", "b"), seed=3)
    with torch.no_grad():
        heads.named("shared").weight.normal_()
        heads.named("shared").bias.normal_()
    weight, bias = (one.detach().clone() for one in heads.named("shared").parameters())

    heads.grow("shared", ("a", "b", "c"), seed=3)

    head = heads.named("shared")
    assert head.labels == ["a", "b", "c"]
    assert torch.equal(head.weight[:2], weight)
    assert torch.equal(head.bias[:2], bias)
    assert torch.equal(head.weight[2], initial_row(3, "shared", "c", 6))
    assert head.bias[2] == 0
    assert head.weight.requires_grad


def test_a_new_row_depends_on_seed_head_and_label_only():
    """Neither the order of arrival nor torch's global state matters."""
    one, other = Heads(6), Heads(6)
    one.grow("h", ("a", "b"), seed=1)
    torch.randn(3)
    other.grow("h", ("b",), seed=1)
    other.grow("h", ("b", "a"), seed=1)

    assert torch.equal(one.named("h").weight, other.named("h").weight[[1, 0]])
    for seed, head, label in [(2, "h", "a"), (1, "g", "a"), (1, "h", "b")]:
        assert not torch.equal(initial_row(1, "h", "a", 6), initial_row(seed, head, label, 6))


def test_logits_follow_the_candidates_order():
    """A subset or another order of labels selects rows; unseen ones get their initial row."""
    heads = Heads(4)
    heads.grow("h", ("a", "b", "c"), seed=0)
    features = torch.randn(5, 4)

    whole = heads.logits(features, "h", ("a", "b", "c"))
    part = heads.logits(features, "h", ("c", "x", "a"))

    torch.testing.assert_close(part[:, [0, 2]], whole[:, [2, 0]])
    torch.testing.assert_close(part[:, 1], features @ initial_row(0, "h", "x", 4))
    assert heads.named("h").labels == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["a.b", "keys", "with space/slash", "training"])
def test_any_task_name_can_have_a_head(name):
    """Names that torch reserves or forbids are escaped in the parameter's name."""
    heads = Heads(2)

    heads.grow(name, ("a",), seed=0)

    assert len(dict(heads.named_parameters())) == 2
    assert heads.named(name).labels == ["a"]


def test_local_cross_entropy_leaves_old_classes_alone(backbone):
    """With current_only, the rows of earlier classes get no gradient."""
    model = backbone("bert")
    old, new = LABELS[:2], LABELS
    model.begin_experience(shared(old), 0)
    candidates = shared(new, current=(2, 3))
    model.begin_experience(candidates, 0)
    task = text_task()
    encoded = model.encode(task, task.load().train)
    batch = encoded.batch([2, 3])

    local, count = model.loss(batch, candidates, True)
    local.backward()

    gradient = model.heads.named("shared").weight.grad
    assert count == 2
    assert not gradient[:2].any()
    assert gradient[2:].any(1).all()
    assert model.loss(batch, candidates, False)[0] > local


def test_local_cross_entropy_refuses_old_classes(backbone):
    """A rehearsed example of an earlier task cannot take part in a local loss."""
    model, task = backbone("bert"), text_task()
    candidates = shared(LABELS, current=(2, 3))
    model.begin_experience(candidates, 0)
    encoded = model.encode(task, task.load().train)

    with pytest.raises(InputError, match=r"\['sports'\] are not among the candidates"):
        model.loss(encoded.batch([0, 2]), candidates, True)


@pytest.mark.parametrize("family", ["bert", "vit"])
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_scores_do_not_depend_on_the_batch(backbone, grey_rows, family, batch_size):
    """Every example is scored as it would be alone, in the split's order."""
    model = backbone(family)
    task = text_task() if family == "bert" else image_task(grey_rows)
    split, candidates = task.load().test, competing(task)
    model.begin_experience(candidates, 7)
    encoded = model.encode(task, split)

    scored = model.score(task, encoded, candidates, batch_size)

    total, count = model.loss(encoded.batch(range(5)), candidates, False)
    assert [one.id for one in scored] == [example.id for example in split]
    assert total.item() == pytest.approx(sum(one.nats for one in scored), rel=1e-4)
    assert count == 5
    for one, example in zip(scored, split, strict=True):
        assert one.correct == float(one.prediction == task.labels[example.label])


def test_a_head_is_scored_before_it_begins(backbone):
    """b[j] is what the initial rows say, and asking leaves nothing behind."""
    model, task = backbone("bert"), text_task()
    encoded = model.encode(task, task.load().test)

    before = model.score(task, encoded, competing(task), 2)
    assert not list(model.heads.parameters())
    model.begin_experience(competing(task), 0)

    for one, other in zip(model.score(task, encoded, competing(task), 2), before, strict=True):
        assert one.prediction == other.prediction
        assert one.nats == pytest.approx(other.nats)


def test_the_text_feature_is_the_mean_over_real_tokens(backbone):
    """Padding does not enter the mean; special tokens do."""
    model, task = backbone("bert"), text_task()
    encoded = model.encode(task, task.load().test)
    short = int(np.argmin(encoded.lengths))

    batch = encoded.batch([short])
    with torch.no_grad():
        alone = model.model(input_ids=batch["prompt_ids"]).last_hidden_state[0].mean(0)
        padded = model._features(encoded.batch(range(5)))[short]

    assert batch["prompt_ids"][0, 0] == model.codec.tokenizer.cls_token_id
    torch.testing.assert_close(padded, alone, rtol=1e-4, atol=1e-5)


def test_an_encoder_reads_the_bare_text_or_the_filled_in_prompt(backbone):
    """A template made for language models is left away unless it brings in other columns."""
    model = backbone("bert")
    rows = [{"text": "Goals", "label": "sports", "title": "Monday"}]
    plain, titled = text_task(rows), text_task(rows, prompt="{title}: {text}")

    texts = [
        model.codec.decode(model.encode(task, task.load().test).prompts.flat.tolist())
        for task in (plain, titled)
    ]

    assert texts == ["Goals", "Monday: Goals"]


def test_an_encoder_truncates_the_middle_too(backbone):
    """Special tokens, beginning and end survive."""
    model = backbone("bert", max_length=12)
    task = text_task(
        [{"text": "The team won " + "and won " * 20 + "two goals.", "label": "sports"}]
    )

    encoded = model.encode(task, task.load().test)

    text = model.codec.tokenizer.decode(encoded.prompts.flat.tolist())
    assert (encoded.lengths.tolist(), encoded.truncated) == ([12], 1)
    assert text.startswith("[CLS]The team")
    assert text.endswith("goals.[SEP]")


def test_an_encoder_does_not_write(backbone):
    """exact_match needs a language model."""
    model, task = backbone("bert"), text_task(score="exact_match")

    with pytest.raises(InputError, match="wants free text"):
        model.encode(task, task.load().test)
